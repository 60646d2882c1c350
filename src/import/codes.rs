//! What the source's codes mean here: stock codes, which of them are services, and countries.

use events::product::ProductKind;

/// Goods lie on a shelf; a service is charged and nothing else.
pub(super) type Kind = ProductKind;

/// The codes that name no goods, and why.
const SERVICES: &[(&str, &str)] = &[
    ("POST", "postage"),
    ("DOT", "postage of the web shop"),
    ("C2", "carriage"),
    ("D", "a discount"),
    ("M", "a manual correction"),
    ("m", "a manual correction"),
    ("S", "samples, charged as a sum"),
    ("BANK CHARGES", "a bank's fee"),
    ("AMAZONFEE", "a market place's fee"),
    ("CRUK", "a charity's commission"),
    ("B", "a correction of bad debt"),
];

/// Vouchers are money in advance, not goods.
const VOUCHER: &str = "gift_";

pub(super) fn kind(code: &str) -> Kind {
    let service = code.starts_with(VOUCHER) || SERVICES.iter().any(|(service, _)| *service == code);
    if service { Kind::Service } else { Kind::Goods }
}

/// Why a code is a service; none for goods.
pub(super) fn service_reason(code: &str) -> Option<&'static str> {
    let known = SERVICES.iter().find(|(service, _)| *service == code).map(|(_, reason)| *reason);
    known.or_else(|| code.starts_with(VOUCHER).then_some("a gift voucher"))
}

/// The code in the letters that a SKU may have: anything else becomes a dash. Case counts.
pub(super) fn sku(code: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._:/-".contains(c) { c } else { '-' };
    code.chars().take(64).map(plain).collect()
}

/// ISO 3166-1 of the names that the source uses. Not countries: the Channel Islands are filed under Jersey, the European Community under
/// the code reserved for it (EU), and what is unspecified under ZZ, which ISO leaves to its users.
const COUNTRIES: &[(&str, &str)] = &[
    ("Australia", "AU"),
    ("Austria", "AT"),
    ("Bahrain", "BH"),
    ("Belgium", "BE"),
    ("Brazil", "BR"),
    ("Canada", "CA"),
    ("Channel Islands", "JE"),
    ("Cyprus", "CY"),
    ("Czech Republic", "CZ"),
    ("Denmark", "DK"),
    ("EIRE", "IE"),
    ("European Community", "EU"),
    ("Finland", "FI"),
    ("France", "FR"),
    ("Germany", "DE"),
    ("Greece", "GR"),
    ("Hong Kong", "HK"),
    ("Iceland", "IS"),
    ("Israel", "IL"),
    ("Italy", "IT"),
    ("Japan", "JP"),
    ("Lebanon", "LB"),
    ("Lithuania", "LT"),
    ("Malta", "MT"),
    ("Netherlands", "NL"),
    ("Norway", "NO"),
    ("Poland", "PL"),
    ("Portugal", "PT"),
    ("RSA", "ZA"),
    ("Saudi Arabia", "SA"),
    ("Singapore", "SG"),
    ("Spain", "ES"),
    ("Sweden", "SE"),
    ("Switzerland", "CH"),
    ("USA", "US"),
    ("United Arab Emirates", "AE"),
    ("United Kingdom", "GB"),
    ("Unspecified", "ZZ"),
];

/// None for a name that the source does not use.
pub(super) fn country(name: &str) -> Option<&'static str> {
    COUNTRIES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

/// For a name that is not known.
pub(super) const COUNTRY_UNKNOWN: &str = "ZZ";
