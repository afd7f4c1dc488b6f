use crate::ra::Asked;
pub enum Method {
    Get,
    Post,
}
pub struct Route {
    pub server: Option<String>,
    pub asked: Asked,
}
impl Route {
    pub fn is_cheap(&self) -> bool {
        false
    }
}
pub fn route(_: Method, _: &str, _: &str, _: Vec<u8>) -> Result<Route, String> {
    todo!()
}
