//! Errors as lines of text.

/// An error and its causes on one line, each told once. A hint ends it: what causes lie behind one are told
/// by it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause
        && !text.contains("\nhint: ")
    {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
