use super::*;
pub fn unavailable(_: &CaError) -> Answer {
    Answer::busy()
}
