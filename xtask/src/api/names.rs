//! Which item a name means.

use syn::{Ident, Item, Visibility};

use super::read::{Module, Use, is_public};

/// Where a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An item of this crate: its module, its name.
    Item(Vec<String>, String),
    /// A module of this crate.
    Module(Vec<String>),
}

/// The tree of a crate, to be asked.
pub(super) struct Names<'a> {
    root: &'a Module,
}

impl<'a> Names<'a> {
    pub(super) fn new(root: &'a Module) -> Self {
        Self { root }
    }

    pub(super) fn module(&self, path: &[String]) -> Option<&'a Module> {
        path.iter().try_fold(self.root, |module, name| module.modules.get(name).map(|(_, module)| module))
    }

    pub(super) fn item(&self, module: &[String], name: &str) -> impl Iterator<Item = &'a Item> {
        let module = self.module(module);
        let name = name.to_owned();
        module
            .into_iter()
            .flat_map(|module| &module.items)
            .filter(move |item| self::name(item).is_some_and(|ident| *ident == name))
    }

    /// What a path means in a module; `None` for what other crates or macros have.
    pub(super) fn resolve(&self, from: &[String], path: &[String]) -> Option<Meaning> {
        self.resolve_within(from, path, DEPTH)
    }

    fn resolve_within(&self, from: &[String], path: &[String], depth: usize) -> Option<Meaning> {
        let depth = depth.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let meaning = match first.as_str() {
            "crate" => Meaning::Module(Vec::new()),
            "self" => Meaning::Module(from.to_vec()),
            "super" => Meaning::Module(from.split_last()?.1.to_vec()),
            name => self.lookup(from, name, depth)?,
        };
        match (meaning, rest) {
            (meaning, []) => Some(meaning),
            (Meaning::Module(module), rest) => self.resolve_within(&module, rest, depth),
            // A variant of an enum, or the like.
            (Meaning::Item(..), _) => None,
        }
    }

    /// Where a path leads that ends outside of this crate: as far as it can be followed.
    pub(super) fn beyond(&self, from: &[String], path: &[String]) -> Vec<String> {
        let mut place = (from.to_vec(), path.to_vec());
        for _ in 0..DEPTH {
            let Some((name, way)) = place.1.split_last() else { break };
            let Some(Meaning::Module(inside)) = self.resolve(&place.0, way) else { break };
            let uses = self.module(&inside).into_iter().flat_map(|module| &module.uses);
            let Some(used) = uses.into_iter().find(|used| used.name.as_ref() == Some(name)) else { break };
            place = (inside, used.path.clone());
        }
        place.1
    }

    fn lookup(&self, module: &[String], name: &str, depth: usize) -> Option<Meaning> {
        let here = self.module(module)?;
        if here.modules.contains_key(name) {
            return Some(Meaning::Module([module, &[name.to_owned()]].concat()));
        }
        if self.item(module, name).next().is_some() {
            return Some(Meaning::Item(module.to_vec(), name.to_owned()));
        }
        let named = here.uses.iter().find(|used| used.name.as_deref() == Some(name));
        if let Some(used) = named.filter(|used| used.path.as_slice() != [name]) {
            return self.resolve_within(module, &used.path, depth);
        }
        here.uses.iter().filter(|used| used.name.is_none()).find_map(|used| {
            let Meaning::Module(inside) = self.resolve_within(module, &used.path, depth)? else { return None };
            (inside != module).then(|| self.lookup(&inside, name, depth.checked_sub(1)?))?
        })
    }

    /// The public names that one `pub use` brings in, each with what it means.
    pub(super) fn brought(&self, module: &[String], used: &Use) -> Vec<(String, Option<Meaning>)> {
        match &used.name {
            Some(name) => vec![(name.clone(), self.resolve(module, &used.path))],
            None => match self.resolve(module, &used.path) {
                Some(Meaning::Module(inside)) => self.public_names(&inside),
                _ => vec![("*".to_owned(), None)],
            },
        }
    }

    /// What is `pub` in a module, its modules and re-exports included.
    pub(super) fn public_names(&self, path: &[String]) -> Vec<(String, Option<Meaning>)> {
        let Some(module) = self.module(path) else { return Vec::new() };
        let mut names = Vec::new();
        for item in &module.items {
            if let (Some(name), true) = (name(item), visibility(item).is_some_and(is_public)) {
                names.push((name.to_string(), Some(Meaning::Item(path.to_vec(), name.to_string()))));
            }
        }
        for (name, (public, _)) in &module.modules {
            if *public {
                names.push((name.clone(), Some(Meaning::Module([path, std::slice::from_ref(name)].concat()))));
            }
        }
        for used in module.uses.iter().filter(|used| used.public) {
            names.extend(self.brought(path, used));
        }
        names.sort_by(|(one, _), (two, _)| one.cmp(two));
        names.dedup();
        names
    }
}

/// Imports of imports of imports; more is a circle.
const DEPTH: usize = 24;

fn name(item: &Item) -> Option<&Ident> {
    Some(match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    })
}

fn visibility(item: &Item) -> Option<&Visibility> {
    Some(match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        _ => return None,
    })
}
