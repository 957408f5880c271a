//! The email and its delivery. Replace this file with your own job.

use std::error::Error;
use std::time::Duration;

use apalis::prelude::BoxDynError;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    to: String,
    subject: String,
    body: String,
}

impl Email {
    /// Returns the reason why the email is invalid. A line break in an address or a subject would start
    /// another header.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let is_strange = |c: char| c.is_control() || c.is_whitespace() || "@,;<>".contains(c);
        let is_part = |part: &str| !part.is_empty() && !part.contains(is_strange);
        let parts = self.to.split_once('@').filter(|_| self.to.len() <= 254);
        if !parts.is_some_and(|(name, host)| is_part(name) && is_part(host)) {
            return Some("`to` must be an email address");
        }
        let is_line = self.subject.len() <= 900 && !self.subject.contains(char::is_control);
        (!is_line).then_some("`subject` must be a line of at most 900 bytes")
    }
}

#[derive(Clone)]
pub(crate) struct Mailer {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Option<Uri>,
    /// The maximum duration of an attempt.
    attempt: Duration,
}

impl Mailer {
    pub(crate) fn new(url: Option<Uri>, attempt: Duration) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url, attempt }
    }

    /// Posts the email as JSON to the mailer, without TLS, or prints it if there is no mailer.
    pub(crate) async fn deliver(&self, id: &str, email: &Email) -> Result<(), BoxDynError> {
        let Some(url) = &self.url else {
            println!("{id} goes to {}: {}", email.to, email.subject);
            return Ok(());
        };
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", id)
            .body(Full::from(serde_json::to_vec(email)?))?;
        let response = timeout(self.attempt, self.client.request(request)).await;
        let response = response.map_err(|_| "the mailer does not answer")?.map_err(|e| why(&e))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the mailer answered {status}").into()),
        }
    }
}

/// Formats an error with all of its causes.
fn why(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
