//! The `tokenca` program: see [`tokenca::daemon`] and [`tokenca::cli`].

fn main() {}
