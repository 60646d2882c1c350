//! The servers of one shop: a database, a virtual host and a Redis database of its own on the shared ones, or private servers
//! that a test may stop, kill and empty.

use events::schema;
use local_services::{
    Postgres, PrivatePostgres, PrivateRabbitMq, PrivateRedis,
    testing::{TestDatabase, TestRedis, TestServices, TestVhost, dump_and_restore},
};
use sqlx::{Connection, Executor, PgConnection};

/// On a private Postgres.
const DATABASE: &str = "shop";

/// Which servers shall be private.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Private {
    pub(crate) postgres: bool,
    pub(crate) redis: bool,
    pub(crate) rabbitmq: bool,
}

pub(crate) struct Servers {
    database: Database,
    redis: Redis,
    rabbitmq: RabbitMq,
}

enum Database {
    Shared(TestDatabase),
    Private(PrivatePostgres),
}

enum Redis {
    Shared(TestRedis),
    Private(PrivateRedis),
}

enum RabbitMq {
    Shared(TestVhost),
    Private(PrivateRabbitMq),
}

impl Servers {
    pub(crate) async fn new(private: Private) -> Self {
        let database = async {
            if private.postgres {
                Database::Private(private_postgres().await)
            } else {
                Database::Shared(database_as_the_binary_makes_it().await)
            }
        };
        let redis = async {
            if private.redis {
                Redis::Private(PrivateRedis::create().await.expect("a private Redis starts"))
            } else {
                Redis::Shared(TestServices::shared().await.fresh_redis().await)
            }
        };
        let rabbitmq = async {
            if private.rabbitmq {
                RabbitMq::Private(PrivateRabbitMq::create().await.expect("a private RabbitMQ starts"))
            } else {
                RabbitMq::Shared(TestServices::shared().await.fresh_vhost().await)
            }
        };
        let (database, redis, rabbitmq) = tokio::join!(database, redis, rabbitmq);
        Self { database, redis, rabbitmq }
    }

    fn database_as(&self, user: &str) -> String {
        match &self.database {
            Database::Shared(database) => database.url(user),
            Database::Private(server) => server.at().url(DATABASE, user),
        }
    }

    pub(crate) fn service_url(&self) -> String {
        self.database_as(schema::SERVICE)
    }

    pub(crate) fn owner_url(&self) -> String {
        self.database_as(schema::OWNER)
    }

    pub(crate) fn admin_url(&self) -> String {
        self.server().superuser_url("postgres")
    }

    fn server(&self) -> &Postgres {
        match &self.database {
            Database::Shared(database) => &database.postgres,
            Database::Private(server) => server.at(),
        }
    }

    pub(crate) fn redis_url(&self) -> String {
        match &self.redis {
            Redis::Shared(database) => database.url(),
            Redis::Private(server) => server.at().url(0),
        }
    }

    pub(crate) fn amqp_url(&self) -> String {
        match &self.rabbitmq {
            RabbitMq::Shared(vhost) => vhost.url(),
            RabbitMq::Private(server) => server.at().url("/"),
        }
    }

    /// The database is a restored dump on a server of its own from now on; nobody may write to it meanwhile.
    pub(crate) async fn move_database(&mut self) {
        let to = private_postgres().await;
        let from = match &self.database {
            Database::Shared(database) => &database.name,
            Database::Private(_) => DATABASE,
        };
        dump_and_restore((self.server(), from), (to.at(), DATABASE)).await;
        self.database = Database::Private(to);
    }

    pub(crate) fn postgres(&self) -> &PrivatePostgres {
        let Database::Private(server) = &self.database else { panic!("this shop shares its Postgres") };
        server
    }

    pub(crate) fn redis(&self) -> &PrivateRedis {
        let Redis::Private(server) = &self.redis else { panic!("this shop shares its Redis") };
        server
    }

    pub(crate) fn rabbitmq(&self) -> &PrivateRabbitMq {
        let RabbitMq::Private(server) = &self.rabbitmq else { panic!("this shop shares its RabbitMQ") };
        server
    }
}

/// With the roles, and a database that is empty.
async fn private_postgres() -> PrivatePostgres {
    let server = PrivatePostgres::create().await.expect("a private Postgres starts");
    let admin = server.at().superuser_url("postgres");
    schema::ensure_roles(&admin).await.expect("roles are made");
    schema::ensure_database(&admin, DATABASE).await.expect("a database is made");
    server
}

/// Owned by the owner's role, all of it: the binary migrates as that role and no other.
async fn database_as_the_binary_makes_it() -> TestDatabase {
    let services = TestServices::shared().await;
    let template = format!("it_{}", schema::fingerprint());
    let database = services
        .fresh_database(&template, async |admin: String| {
            schema::ensure_roles(&admin).await?;
            give_to_owner(&admin).await;
            let (administrator, owner) =
                (format!("//{}@", services.postgres.superuser), format!("//{}@", schema::OWNER));
            schema::migrate(&admin.replacen(&administrator, &owner, 1)).await
        })
        .await;
    give_to_owner(&database.superuser_url()).await;
    database
}

async fn give_to_owner(admin_url: &str) {
    let name = admin_url.rsplit_once('/').expect("a URL ends with the database's name").1;
    let mut connection = PgConnection::connect(admin_url).await.expect("the administrator may connect");
    let give = format!("ALTER DATABASE \"{name}\" OWNER TO {}", schema::OWNER);
    connection.execute(&*give).await.expect("a superuser may give a database away");
    connection.close().await.expect("nothing is under way");
}
