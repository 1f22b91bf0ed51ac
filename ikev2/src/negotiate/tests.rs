use super::*;

fn ike(text: &str) -> IkeProposals {
    text.parse().unwrap()
}

#[test]
fn the_defaults_are_well_formed() {
    assert_eq!(ike("default"), IkeProposals::default());
    assert_eq!(IkeProposals::default().0.len(), 2);
    assert_eq!("default".parse(), Ok(EspProposals::default()));
    assert_eq!(EspProposals::default().0.len(), 2);
}
