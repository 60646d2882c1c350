//! What a storefront does over HTTP, and what it is answered.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// The longest that the front door may take is 15 s.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null where the answer is no JSON.
    pub(crate) body: Value,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        // A connection that is kept would belong to the runtime of the test that opened it.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).tcp_nodelay(true).timeout(TIMEOUT);
        Self { http: http.build().expect("a client can be made"), base: base.to_owned() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await.expect("an answer")
    }

    /// Waits up to ten seconds until the answer reflects this position.
    pub(crate) async fn get_at(&self, path: &str, position: &str) -> Answer {
        let request = self.request(Method::GET, path).header("Waybill-Min-Position", position);
        send(request.header("Waybill-Wait-Ms", "10000")).await.expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.try_post(path, key, body).await.expect("an answer")
    }

    pub(crate) async fn try_post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        send(self.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, text, body })
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// From which on every reader sees what was commanded; or what the answer reflects.
    #[track_caller]
    pub(crate) fn position(&self) -> String {
        self.header("waybill-position").unwrap_or_else(|| panic!("no position: {self:?}")).to_owned()
    }

    /// The stable code of a problem document.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// What a customer wants. Two mugs for Anna, unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) customer: String,
    pub(crate) lines: Vec<(&'static str, u32)>,
    pub(crate) token: String,
    pub(crate) service: String,
}

impl Wish {
    /// `token` and `service` choose how provider and carrier behave: see docs/simulator.md.
    pub(crate) fn new(token: &str, service: &str) -> Self {
        Self { customer: "anna".into(), lines: vec![("mug", 2)], token: token.into(), service: service.into() }
    }

    pub(crate) fn of(self, sku: &'static str, quantity: u32) -> Self {
        Self { lines: vec![(sku, quantity)], ..self }
    }

    pub(crate) fn by(self, customer: &str) -> Self {
        Self { customer: customer.into(), ..self }
    }

    pub(crate) fn body(&self) -> Value {
        let line = |(sku, quantity): &(&str, u32)| json!({ "sku": sku, "quantity": quantity });
        json!({
            "customer_id": self.customer,
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
            "payment_token": self.token,
            "delivery": {
                "recipient": "Anna Shopper", "street": "1 High Street", "city": "Leeds",
                "postal_code": "LS1 1AA", "country": "GB", "service": self.service,
            },
        })
    }
}
