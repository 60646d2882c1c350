//! The words that generated products, people and places are made of.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) category: &'static str,
    pub(super) colour: &'static str,
}

const COLOURS: &[&str] = &["White", "Red", "Blue", "Green", "Pink", "Ivory", "Black", "Copper", "Yellow", "Grey"];

const MOTIFS: &[&str] = &[
    "Heart",
    "Polka Dot",
    "Regency",
    "Vintage",
    "Union Flag",
    "Rose",
    "Strawberry",
    "Owl",
    "Retrospot",
    "Star",
    "Botanical",
    "Dolly",
    "Spaceboy",
    "Woodland",
    "Swallow",
    "Paisley",
];

const THINGS: &[(&str, &[&str])] = &[
    (
        "Home",
        &["T-Light Holder", "Metal Lantern", "Photo Frame", "Wall Clock", "Doormat", "Cushion Cover", "Candle Plate"],
    ),
    (
        "Kitchen",
        &[
            "Cake Tin",
            "Teacup and Saucer",
            "Baking Set",
            "Enamel Mug",
            "Jam Jar",
            "Egg Cup",
            "Recipe Box",
            "Cutlery Set",
        ],
    ),
    ("Garden", &["Watering Can", "Bird Table", "Herb Marker", "Plant Pot", "Garden Sign"]),
    ("Party", &["Paper Bunting", "Cake Cases", "Paper Napkins", "Party Bag", "Cocktail Parasols"]),
    ("Stationery", &["Notebook", "Gift Wrap", "Pencil Case", "Sketchbook", "Greetings Card"]),
    ("Bags", &["Jumbo Bag", "Lunch Bag", "Shopper", "Wash Bag", "Charlotte Bag"]),
    ("Christmas", &["Hanging Decoration", "Advent Calendar", "Stocking", "Gingham Reindeer"]),
];

/// Every name there is: colour by motif by thing.
pub(super) fn all() -> Vec<Named> {
    let mut all = Vec::new();
    for &(category, things) in THINGS {
        for thing in things {
            for motif in MOTIFS {
                for &colour in COLOURS {
                    all.push(Named { name: format!("{colour} {motif} {thing}"), category, colour });
                }
            }
        }
    }
    all
}

pub(super) const GIVEN_NAMES: &[&str] =
    &["Ada", "Bashir", "Chloe", "Dilip", "Edith", "Farah", "George", "Hana", "Imran", "Jane", "Kwame", "Lucy", "Mateo"];

pub(super) const FAMILY_NAMES: &[&str] =
    &["Archer", "Bell", "Carter", "Das", "Evans", "Fischer", "Green", "Hughes", "Khan", "Lewis", "Moreau", "Novak"];

pub(super) const STREETS: &[&str] =
    &["High Street", "Station Road", "Mill Lane", "Church Road", "Victoria Road", "Green Lane", "Park Avenue"];

/// City, postal code, ISO 3166 country.
pub(super) const PLACES: &[(&str, &str, &str)] = &[
    ("Leeds", "LS1 4AP", "GB"),
    ("London", "SE1 9SG", "GB"),
    ("Bristol", "BS1 5TR", "GB"),
    ("Glasgow", "G2 1DY", "GB"),
    ("Cardiff", "CF10 1EP", "GB"),
    ("York", "YO1 7HH", "GB"),
];

pub(super) const PLACES_ABROAD: &[(&str, &str, &str)] = &[
    ("Berlin", "10115", "DE"),
    ("Lyon", "69002", "FR"),
    ("Cork", "T12 X70A", "IE"),
    ("Utrecht", "3511 LX", "NL"),
    ("Madrid", "28013", "ES"),
    ("Oslo", "0150", "NO"),
];
