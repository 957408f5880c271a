//! The routes that every server has, over hyper and over axum.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The catalogue in memory: 10 KiB of JSON, which is built for each request.
#[derive(Deserialize, Serialize)]
pub(crate) struct Catalogue {
    total: u64,
    items: Vec<Item>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Item {
    id: u64,
    name: String,
    price_cents: u64,
    currency: String,
    stock: u64,
    tags: Vec<String>,
    updated: String,
    picture: String,
    description: String,
}

#[derive(Serialize)]
pub(crate) struct Hello {
    message: &'static str,
}

pub(crate) fn catalogue() -> &'static Catalogue {
    BUILT.fetch_add(1, Ordering::Relaxed);
    &CATALOGUE
}

/// Returns how often the catalogue was built, which tells what came from a cache.
pub(crate) fn built() -> String {
    BUILT.load(Ordering::Relaxed).to_string()
}

static BUILT: AtomicU64 = AtomicU64::new(0);

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../items.json"))
        .unwrap_or_else(|error| panic!("items.json: {error}"))
});

/// A body under 32 bytes, from which on tower-http compresses.
pub(crate) const HELLO: Hello = Hello { message: "Hello, world!" };

/// The lifetime of `/cached/items`.
pub(crate) const KEPT: &str = "public, max-age=3600";

/// The limit of JSON.
pub(crate) const MOST_JSON: u64 = 10 * 1024;
