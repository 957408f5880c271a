/// A maximum of [`LimitLayer`](super::LimitLayer): a number of bytes or headers, or
/// [`Size::UNLIMITED`].
///
/// The setters take `impl Into<Size>`, so that plain integers work as well:
///
/// ```
/// use tower_kit::limit::{LimitLayer, Size};
/// use tower_kit::{InvalidMediaType, MIB};
///
/// # fn main() -> Result<(), InvalidMediaType> {
/// let layer = LimitLayer::new()
///     .default_body(5 * MIB)
///     .media_type("application/grpc", Size::UNLIMITED)?;
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// The absence of a maximum.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// Creates a maximum of `size` bytes or headers. `u64::MAX` equals [`Size::UNLIMITED`].
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self(size)
    }

    /// Returns the maximum, or `u64::MAX` if the size is unlimited.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Size {
    fn from(size: u64) -> Self {
        Self(size)
    }
}
