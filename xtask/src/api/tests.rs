use super::{difference, read, show};

/// The listing of this source.
fn listed(source: &str) -> String {
    let items = syn::parse_file(source).unwrap().items;
    show::listing("toy", &read::module(items, "nowhere".as_ref()).unwrap())
}

#[test]
fn what_can_be_named_is_listed_and_nothing_else() {
    let text = listed(
        r#"
        mod inner {
            pub use elsewhere::Thing;
            /// Said.
            #[derive(Debug, Clone)]
            pub struct Shown { pub field: u8, secret: u8 }
            pub struct Unreachable;
            impl Shown {
                #[must_use]
                pub fn open(&self) -> u8 { self.secret }
                fn closed(&self) {}
            }
            impl std::fmt::Display for Shown { fn fmt(&self) {} }
            impl Iterator for Shown { type Item = u8; fn next(&mut self) -> Option<u8> { None } }
            trait Private { fn hidden(&self); }
            impl Private for Shown { fn hidden(&self) {} }
            pub enum Choice { One(u8), Two { named: u16 } }
        }
        pub mod outer {
            pub use super::inner::Choice as Renamed;
            pub const LIMIT: usize = 3;
            pub trait Open { fn must(&self); fn may(&self) { panic!() } }
            impl Open for u8 { fn must(&self) {} }
        }
        pub use inner::Shown;
        #[cfg(test)]
        pub mod tests { pub fn no() {} }
        #[doc(hidden)]
        pub fn no_promise() {}
        pub use inner::Thing;
        pub struct Opaque { secret: u8 }
        pub fn takes(mut by_value: u8) {}
        "#,
    );
    for wanted in [
        "# toy::Shown\n#[derive(Debug, Clone)]\npub struct Shown {\n    pub field: u8,\n    /* and private ones */\n}",
        "impl Shown {\n    pub fn open(&self) -> u8;\n}",
        "impl std::fmt::Display for Shown;",
        "impl Iterator for Shown {\n    type Item = u8;\n}",
        "# toy::outer::Renamed\npub enum Choice {\n    One(u8),\n    Two { named: u16 },\n}",
        "# toy::outer::LIMIT\npub const LIMIT: usize = _;",
        "pub trait Open {\n    fn must(&self);\n    fn may(&self) {}\n}\nimpl Open for u8;",
        "# toy::Thing\npub use elsewhere::Thing;",
        "pub struct Opaque { /* private */ }",
        "pub fn takes(by_value: u8);",
    ] {
        assert!(text.contains(wanted), "`{wanted}` in\n{text}");
    }
    for unwanted in ["Unreachable", "secret", "closed", "Private", "no_promise", "no()", "Said"] {
        assert!(!text.contains(unwanted), "`{unwanted}` in\n{text}");
    }
}

#[test]
fn a_change_is_shown_by_its_lines() {
    let (old, new) = (listed("pub fn one(a: u8) {}"), listed("pub fn one(a: u16) {}"));
    assert_eq!(difference(&old, &old), None);
    assert_eq!(difference(&old, &new).unwrap(), "- pub fn one(a: u8);\n+ pub fn one(a: u16);");
}
