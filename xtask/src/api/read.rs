//! Sources of a crate as a tree of modules.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use syn::{Attribute, Expr, Item, ItemUse, Lit, Meta, UseTree, Visibility};

/// A module, with what stands in it; what is for tests alone, or hidden from the documentation, is left out.
#[derive(Default)]
pub(super) struct Module {
    pub(super) items: Vec<Item>,
    /// By name, with whether it is `pub`.
    pub(super) modules: BTreeMap<String, (bool, Self)>,
    pub(super) uses: Vec<Use>,
}

/// One name that `use` brings in, or all names of a module.
pub(super) struct Use {
    pub(super) public: bool,
    pub(super) path: Vec<String>,
    /// `None` for `*`.
    pub(super) name: Option<String>,
}

/// Reads `lib.rs` and all it leads to.
pub(super) fn library(lib: &Path) -> Result<Module> {
    file(lib, &lib.with_file_name(""))
}

/// `children` is the folder of the files of modules inside.
fn file(path: &Path, children: &Path) -> Result<Module> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
    module(file.items, children)
}

pub(super) fn module(items: Vec<Item>, children: &Path) -> Result<Module> {
    let mut module = Module::default();
    for item in items {
        if attributes(&item).iter().any(is_absent) {
            continue;
        }
        match item {
            Item::Mod(inner) => {
                let name = inner.ident.to_string();
                let read = match inner.content {
                    Some((_, items)) => self::module(items, &children.join(&name))?,
                    None => {
                        let (path, children) = place(&inner.attrs, &name, children);
                        file(&path, &children)?
                    }
                };
                // The same name twice: one for each system.
                let (_, known) =
                    module.modules.entry(name).or_insert_with(|| (is_public(&inner.vis), Module::default()));
                known.items.extend(read.items);
                known.uses.extend(read.uses);
                known.modules.extend(read.modules);
            }
            Item::Use(item) => add_uses(&mut module.uses, &item),
            other => module.items.push(other),
        }
    }
    Ok(module)
}

fn place(attributes: &[Attribute], name: &str, children: &Path) -> (PathBuf, PathBuf) {
    let given = attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(path) => Some(children.join(path.value())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let beside = given.unwrap_or_else(|| children.join(format!("{name}.rs")));
    let path = if beside.exists() { beside } else { children.join(name).join("mod.rs") };
    (path, children.join(name))
}

fn add_uses(uses: &mut Vec<Use>, item: &ItemUse) {
    let mut add = |path: Vec<String>, name| uses.push(Use { public: is_public(&item.vis), path, name });
    walk(&item.tree, &mut Vec::new(), &mut add);
}

fn walk(tree: &UseTree, path: &mut Vec<String>, add: &mut dyn FnMut(Vec<String>, Option<String>)) {
    let joined = |path: &[String], name: String| {
        if name == "self" { path.to_vec() } else { [path, &[name]].concat() }
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            walk(&inner.tree, path, add);
            path.pop();
        }
        UseTree::Name(name) => {
            let whole = joined(path, name.ident.to_string());
            let last = whole.last().cloned();
            add(whole, last);
        }
        UseTree::Rename(rename) => add(joined(path, rename.ident.to_string()), Some(rename.rename.to_string())),
        UseTree::Glob(_) => add(path.clone(), None),
        UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, path, add)),
    }
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Only in tests, or not part of what is promised.
pub(super) fn is_absent(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let tokens = list.tokens.to_string();
    attribute.path().is_ident("cfg") && tokens == "test" || attribute.path().is_ident("doc") && tokens == "hidden"
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
