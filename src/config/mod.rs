//! The configuration: IOS text to checked values and back.

/// Everything configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {}
