use super::*;
impl Ra {
    pub(super) fn pki_operation(&self, _: &[u8], _: IpAddr, _: Time) -> Answer {
        todo!()
    }
}
