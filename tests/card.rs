mod support;
use support::card::Card;
#[test]
fn try_it() {
    let start = std::time::Instant::now();
    let mut card = Card::start().unwrap();
    eprintln!("start {:?}", start.elapsed());
    for _ in 0..2 {
        let t = std::time::Instant::now();
        card.pull();
        eprintln!("pull {:?}", t.elapsed());
        let t = std::time::Instant::now();
        card.plug();
        eprintln!("plug {:?}", t.elapsed());
        let t = std::time::Instant::now();
        card.restart_pcscd();
        eprintln!("restart {:?}", t.elapsed());
    }
    let t = std::time::Instant::now();
    drop(card);
    eprintln!("drop {:?}", t.elapsed());
}
