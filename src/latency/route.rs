use std::borrow::Cow;

/// The template of a request's route, such as `/items/{id}`, as an extension of a request or
/// response.
///
/// A router outside the layer inserts it into the extensions of the request, a handler inside the
/// layer into those of the response. The route of the response takes precedence over every other
/// source of the label `route`.
///
/// ```
/// use http::Response;
/// use tower_kit::latency::Route;
///
/// let mut response = Response::new("an item");
/// response.extensions_mut().insert(Route::new("/items/{id}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route(Cow<'static, str>);

impl Route {
    /// Creates a route with the given template.
    ///
    /// The template must come from a small, fixed set. A path would make each URL a time series.
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }

    /// Returns the template of the route.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
