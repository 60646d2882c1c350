//! The broker fails, loses everything, delivers what nobody can read; the engine is cut off, or is not alone.

use std::time::Duration;

use events::{
    DomainEvent, NewEvent, OrderId,
    bus::{COMMANDS_EXCHANGE, command_queue, command_queues},
    fulfilment::StepRefused,
    participant::Participant,
};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use local_services::testing::eventually;
use serde_json::Value;
use write_side::{Append, StreamAppend};

use super::world::{World, metadata};
use crate::{
    Health,
    bus::{Broker, topology},
    dead_letters,
};

async fn place_many(world: &World, name: &str, count: usize) -> Vec<OrderId> {
    let mut orders = Vec::new();
    for number in 0..count {
        orders.push(world.place(&format!("{name} {number}"), "tok_ok", "standard").await);
    }
    orders
}

async fn all_completed(world: &World, orders: &[OrderId]) {
    for &order_id in orders {
        world.until(order_id, "completed").await;
    }
}

/// Asks RabbitMQ's management interface.
async fn manage(world: &World, method: reqwest::Method, path: &str) -> Value {
    let broker = &world.vhost.rabbitmq;
    let request = reqwest::Client::new().request(method, format!("{}{path}", broker.management_url()));
    let answer = request.basic_auth(&broker.user, Some(&broker.password)).send().await.expect("the broker answers");
    let answer = answer.error_for_status().expect("the broker is willing");
    answer.json().await.unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_closed_in_the_middle_of_many_orders_lose_nothing() {
    let world = World::running().await;
    let orders = place_many(&world, "closed", 60).await;
    let mut closed = 0;
    // The broker tells of a connection only some time after it was made.
    eventually("six connections are closed", async || {
        let path = format!("api/vhosts/{}/connections", world.vhost.name);
        for connection in manage(&world, reqwest::Method::GET, &path).await.as_array().into_iter().flatten() {
            let name =
                connection["name"].as_str().expect("a connection has a name").replace(' ', "%20").replace('>', "%3E");
            manage(&world, reqwest::Method::DELETE, &format!("api/connections/{name}")).await;
            closed += 1;
        }
        if closed >= 6 { Ok(()) } else { Err(format!("{closed} are")) }
    })
    .await;
    all_completed(&world, &orders).await;
    let more = place_many(&world, "afterwards", 5).await;
    all_completed(&world, &more).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_given_up_half_way_leaves_no_consumer_behind() {
    let world = World::new().await;
    let (url, config) = (world.config.amqp_url.clone(), world.config.broker.clone());
    let broker = Broker { url, name: "given up".into(), config, health: Health::default() };
    let onlooking = broker.connect().await.expect("the broker is there");
    let onlooker = onlooking.channel().await.expect("a channel");
    topology::declare(&onlooker, world.config.broker.timeout_ms).await.expect("the queues are made");
    let queue = command_queue(Participant::Payment, OrderId(uuid::Uuid::nil()));
    let consumers = async |wanted: u32| {
        eventually(&format!("{wanted} consumers"), async || {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = onlooker.queue_declare(queue.as_str().into(), options, FieldTable::default()).await;
            let count = declared.expect("the queue is there").consumer_count();
            if count == wanted { Ok(()) } else { Err(format!("{count} are there")) }
        })
        .await;
    };
    let link = broker.connect().await.expect("the broker is there");
    {
        let channel = link.channel().await.expect("a channel");
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut subscribing = Box::pin(channel.basic_consume(queue.as_str().into(), "".into(), options, arguments));
        assert!(futures_util::poll!(&mut subscribing).is_pending(), "it is asked for and not answered yet");
    }
    consumers(1).await;
    drop(link);
    consumers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_lost_everything_is_told_again_at_once() {
    let mut world = World::new().await;
    // Only the marker can tell: no saga sends anything again by itself.
    world.config.times.resend_first_ms = Duration::from_secs(3600);
    world.start_engine();
    world.start_others();
    let held = world.place("held", "tok_ok", "hold").await;
    world.until(held, "await_dispatch 1").await;
    // Without participants, commands pile up in the queues, and are lost with them.
    world.crash().await;
    world.start_engine();
    world.start_relay();
    let orders = place_many(&world, "wiped", 20).await;
    for &order_id in &orders {
        world.until(order_id, "reserve_stock 1").await;
    }
    let last = world.head().await;
    world.until_published(last).await;
    let broker = world.vhost.rabbitmq.clone();
    broker.delete_vhost(&world.vhost.name).await.expect("the virtual host goes");
    broker.create_vhost(&world.vhost.name).await.expect("the virtual host comes back, empty");
    world.start_participants();
    all_completed(&world, &orders).await;
    world.cancel(held).await;
    world.until(held, "unwound").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_deleted_is_declared_again() {
    let world = World::running().await;
    // An order that came through proves that the queues are there to be deleted.
    let first = world.place("first", "tok_ok", "standard").await;
    world.until(first, "completed").await;
    let orders = place_many(&world, "before", 10).await;
    for queue in command_queues(Participant::Payment) {
        manage(&world, reqwest::Method::DELETE, &format!("api/queues/{}/{queue}", world.vhost.name)).await;
    }
    all_completed(&world, &orders).await;
    let more = place_many(&world, "afterwards", 10).await;
    all_completed(&world, &more).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_kept_and_can_be_sent_again() {
    let world = World::running().await;
    let order_id = world.place("beside", "tok_ok", "standard").await;
    world.until(order_id, "completed").await;
    publish_nonsense(&world, &command_queue(Participant::Payment, order_id)).await;
    let letter = until_dead(&world, 1).await.remove(0);
    assert_eq!((letter.reason.as_str(), letter.state.as_str()), ("rejected", "waiting"));
    assert_eq!(letter.queue, command_queue(Participant::Payment, order_id));
    assert_eq!(letter.body.0, "nonsense");
    dead_letters::replay(world.store.log().pool(), letter.id).await.expect("it waits");
    let letters = until_dead(&world, 2).await;
    assert!(letters.iter().any(|other| other.id == letter.id && other.state == "replayed"));
    let after = world.place("after", "tok_ok", "standard").await;
    world.until(after, "completed").await;
    world.stop().await;
}

async fn until_dead(world: &World, count: usize) -> Vec<dead_letters::DeadLetter> {
    eventually(&format!("{count} dead letters"), async || {
        let letters = dead_letters::list(world.store.log().pool(), 100).await.expect("the table is there");
        if letters.len() >= count { Ok(letters) } else { Err(format!("there are {}", letters.len())) }
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "somebody else publishes to our queue")]
async fn publish_nonsense(world: &World, queue: &str) {
    let connection = Connection::connect(&world.config.amqp_url, ConnectionProperties::default()).await;
    let channel = connection.expect("the broker is there").create_channel().await.expect("a channel");
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let publishing = channel.basic_publish(COMMANDS_EXCHANGE.into(), queue.into(), options, b"nonsense", properties);
    publishing.await.expect("it is sent").await.expect("it is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_loses_nothing_and_does_nothing_twice() {
    let mut world = World::running().await;
    let mut orders = Vec::new();
    for round in 0..5 {
        let before = world.head().await.0;
        orders.extend(place_many(&world, &format!("crash {round}"), 12).await);
        world.until_at(before + 12 + 37 * round).await; // another moment each time
        world.crash().await;
        world.start_engine();
        world.start_others();
    }
    all_completed(&world, &orders).await;
    for order_id in orders {
        assert_nothing_twice(&world, order_id).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_at_once_decide_nothing_twice() {
    let mut world = World::running().await;
    world.start_engine();
    let mut orders = Vec::new();
    // Whoever has the lease loses it in the middle of a page, and does not know yet.
    for round in 0..20 {
        let before = world.head().await.0;
        orders.extend(place_many(&world, &format!("two {round}"), 4).await);
        let stolen =
            "UPDATE leases SET owner = gen_random_uuid(), expires_at = now() - interval '1 s' WHERE name = 'sagas'";
        sqlx::query(stolen).execute(world.store.log().pool()).await.expect("the table is there");
        world.until_at(before + 44).await;
    }
    all_completed(&world, &orders).await;
    for order_id in orders {
        assert_nothing_twice(&world, order_id).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sagas_than_are_kept_in_memory_hear_everything() {
    let mut world = World::new().await;
    // Only what is heard moves them: nothing is sent again.
    world.config.times.resend_first_ms = Duration::from_secs(3600);
    world.config.runner.cached_sagas = 4;
    world.start_engine();
    world.start_others();
    let orders = place_many(&world, "pushed out", 60).await;
    all_completed(&world, &orders).await;
    world.stop().await;
}

async fn assert_nothing_twice(world: &World, order_id: OrderId) {
    let mut story = world.story(order_id).await;
    story.retain(|word| !word.contains("sent again"));
    let mut unique = story.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), story.len(), "{story:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_cannot_be_read_blocks_no_other_and_waits_for_a_person() {
    let mut world = World::new().await;
    let order_id = world.place("strange", "tok_ok", "standard").await;
    let step = "of another release".into();
    let strange = StepRefused { order_id, step, occurrence: 1, reason: String::new() };
    let event = NewEvent::new(world.store.ids().next(), &DomainEvent::Fulfilment(strange.into()), &metadata(order_id));
    let append = Append::to_one(StreamAppend {
        stream_id: order_id.fulfilment_stream(),
        expected_version: 0,
        events: vec![event],
        commands: vec![],
    });
    world.store.append(append).await.expect("the log takes it");
    world.start_engine();
    world.start_others();
    let other = world.place("other", "tok_ok", "standard").await;
    world.until(other, "completed").await;
    let kept: Vec<(uuid::Uuid, String)> = sqlx::query_as("SELECT order_id, reason FROM quarantined_sagas")
        .fetch_all(world.store.log().pool())
        .await
        .expect("the table is there");
    assert_eq!(kept, [(order_id.0, "the saga has no step \"of another release\"".to_owned())]);
    world.stop().await;
}
