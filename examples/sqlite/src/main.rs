//! Exchange rates in SQLite. The rates, and the pages made of them, are cached in Redis and in the memory of
//! each process. A change removes the rate, which purges the pages made of it, in all processes.
//!
//! ```sh
//! redis-server --port 6379 --save ''     # or: docker run --rm -p 6379:6379 redis
//!
//! cargo run -p example-sqlite
//! ADDR=127.0.0.1:3001 cargo run -p example-sqlite     # beside it
//!
//! curl -i http://127.0.0.1:3000/convert/EUR/CHF
//! curl -i http://127.0.0.1:3001/convert/EUR/CHF
//! curl -i -X PUT http://127.0.0.1:3001/rates/CHF -d 0.91
//! curl -i http://127.0.0.1:3000/convert/EUR/CHF
//! ```
//!
//! The second response is the page of the first process, and the last one has the new rate. `DATABASE` is
//! the file of the rates, `rates.db` by default, and `REDIS_URL` is `redis://127.0.0.1:6379` by default.

use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use rusqlite::{Connection, OptionalExtension};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore};
use tower_kit::{MIB, ValueCache};

type BoxError = Box<dyn Error + Send + Sync>;

/// The response to a change, or to a request that fails.
type Reply = (StatusCode, &'static str);

/// The state of the routes.
#[derive(Clone)]
struct App {
    database: Arc<Mutex<Connection>>,
    rates: ValueCache,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let var = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    let database = Connection::open(var("DATABASE", "rates.db"))?;
    database.execute_batch(SCHEMA)?;

    let redis = RedisConfig::new(&var("REDIS_URL", "redis://127.0.0.1:6379"))?;
    let store = TieredStore::new(MemoryStore::new(64 * MIB), RedisStore::connect(redis));
    // An hour bounds the harm if a process dies between a change and its purges.
    let ttl = Duration::from_secs(3600);
    // Here the processes differ in their ports, and their pages do not.
    let cache = CacheLayer::with_ttl(store.clone(), ttl).key(CacheKey::new().any_host());
    let app = App {
        database: Arc::new(Mutex::new(database)),
        // Over the same store: a page is linked to the rates that its handler reads.
        rates: ValueCache::new(store).ttl(ttl),
    };
    let router = Router::new()
        .route("/convert/{from}/{to}", get(convert))
        .route("/rates/{currency}", put(change))
        .with_state(app)
        .layer(cache);

    let listener = TcpListener::bind(var("ADDR", "127.0.0.1:3000")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

async fn convert(
    State(app): State<App>,
    Path((from, to)): Path<(String, String)>,
) -> Result<String, Reply> {
    let (one, other) = (app.rate(&from).await?, app.rate(&to).await?);
    Ok(format!("100 {from} are {:.2} {to}\n", 100.0 * other / one))
}

async fn change(
    State(app): State<App>,
    Path(currency): Path<String>,
    body: String,
) -> Result<Reply, Reply> {
    let rate = body.trim().parse().ok().filter(|rate: &f64| rate.is_normal() && *rate > 0.0);
    let rate = rate.ok_or((StatusCode::BAD_REQUEST, "the body is a number above 0\n"))?;
    // In a task, which goes on if the client leaves between the change and the purges.
    tokio::spawn(async move { app.set_rate(currency, rate).await }).await.map_err(failed)?
}

fn failed(error: impl Debug) -> Reply {
    eprintln!("{error:?}");
    (StatusCode::INTERNAL_SERVER_ERROR, "the database failed\n")
}

impl App {
    async fn rate(&self, currency: &str) -> Result<f64, Reply> {
        let (code, select) = (currency.to_owned(), "SELECT rate FROM rates WHERE currency = ?1");
        let load = || {
            self.query(move |db| {
                db.query_one(select, [code], |row| row.get::<_, f64>(0)).optional()
            })
        };
        let rate = self.rates.get_or_insert_with(currency, None, load).await.map_err(failed)?;
        rate.ok_or((StatusCode::NOT_FOUND, "there is no such currency\n"))
    }

    async fn set_rate(&self, currency: String, rate: f64) -> Result<Reply, Reply> {
        let (code, update) = (currency.clone(), "UPDATE rates SET rate = ?2 WHERE currency = ?1");
        let changed =
            self.query(move |db| db.execute(update, (code, rate))).await.map_err(failed)?;
        if changed == 0 {
            return Err((StatusCode::NOT_FOUND, "there is no such currency\n"));
        }
        if self.rates.remove(&currency).await.is_err() {
            return Ok((StatusCode::ACCEPTED, "changed; other processes learn of it later\n"));
        }
        Ok((StatusCode::OK, "changed\n"))
    }

    /// Runs a query on a thread that may block.
    async fn query<T, F>(&self, query: F) -> Result<T, BoxError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        let run = move || query(&database.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(spawn_blocking(run).await??)
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rates (currency TEXT PRIMARY KEY, rate REAL NOT NULL) STRICT;
    INSERT OR IGNORE INTO rates VALUES ('EUR', 1.0), ('CHF', 0.95), ('SEK', 11.2);
";
