//! The routes on axum.

use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::app::{HELLO, Item, KEPT, built, catalogue};

/// `cache` is for the one route that may be kept.
pub(crate) fn router(cache: impl FnOnce(MethodRouter) -> MethodRouter) -> Router {
    let add = |Json(_): Json<Item>| async { StatusCode::CREATED };
    let cached = || async { ([(CACHE_CONTROL, KEPT)], Json(catalogue())).into_response() };
    Router::new()
        .route("/hello", get(|| async { Json(HELLO) }))
        .route("/items", get(|| async { Json(catalogue()) }).post(add))
        .route("/cached/items", cache(get(cached)))
        .route("/built", get(|| async { built() }))
}
