//! The listing: each public path with its declaration, then what is implemented for it.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, Expr, Field, Fields, ImplItem, Item, ItemImpl, Path, Type, Visibility, parse_quote,
    visit_mut::{self, VisitMut},
};

use super::{
    names::{Meaning, Names},
    read::{Module, is_absent, is_public},
};

/// An item by the module where it stands, and its name.
type Place = (Vec<String>, String);

pub(super) fn listing(name: &str, root: &Module) -> String {
    let names = Names::new(root);
    let mut paths = Paths { names: &names, found: BTreeMap::new(), seen: BTreeSet::new() };
    paths.walk(&[], &[name.replace('-', "_")]);
    let reachable: BTreeSet<Place> = paths.found.values().filter_map(|place| place.clone().ok()).collect();
    let mut impls = Impls { names: &names, reachable: &reachable, of: BTreeMap::new() };
    impls.collect(root, &mut Vec::new());

    let mut text = format!(
        "The public API of {name}, made by `cargo xtask api --update`: what can be named, and what is implemented for it.\n"
    );
    let mut shown = BTreeSet::new();
    for (path, place) in &paths.found {
        match place {
            Ok(place) => {
                text += &format!("\n# {path}\n");
                if !shown.insert(place) {
                    text += "as above\n";
                    continue;
                }
                names.item(&place.0, &place.1).for_each(|item| text += &declaration(item));
                impls.of.remove(place).into_iter().flatten().for_each(|shown| text += &shown);
            }
            Err(elsewhere) => {
                text += &format!("\n# {path}\npub use {elsewhere}; // of another crate, or made by a macro\n")
            }
        }
    }
    text
}

/// All public paths; those of other crates with where they lead.
struct Paths<'a> {
    names: &'a Names<'a>,
    found: BTreeMap<String, Result<Place, String>>,
    seen: BTreeSet<Vec<String>>,
}

impl Paths<'_> {
    fn walk(&mut self, module: &[String], path: &[String]) {
        if !self.seen.insert(module.to_vec()) {
            return;
        }
        for (name, meaning) in self.names.public_names(module) {
            let path = [path, std::slice::from_ref(&name)].concat();
            match meaning {
                Some(Meaning::Module(inside)) => self.walk(&inside, &path),
                Some(Meaning::Item(module, item)) => drop(self.found.insert(path.join("::"), Ok((module, item)))),
                None => {
                    let uses = self.names.module(module).into_iter().flat_map(|module| &module.uses);
                    let used = uses.into_iter().find(|used| used.name.as_deref().unwrap_or("*") == name);
                    let elsewhere = used.map_or(name, |used| self.names.beyond(module, &used.path).join("::"));
                    self.found.insert(path.join("::"), Err(elsewhere));
                }
            }
        }
    }
}

/// What is implemented for reachable types, or of reachable traits.
struct Impls<'a> {
    names: &'a Names<'a>,
    reachable: &'a BTreeSet<Place>,
    of: BTreeMap<Place, BTreeSet<String>>,
}

impl Impls<'_> {
    fn collect(&mut self, module: &Module, path: &mut Vec<String>) {
        for item in &module.items {
            if let Item::Impl(item) = item {
                self.add(item, path);
            }
        }
        for (name, (_, inner)) in &module.modules {
            path.push(name.clone());
            self.collect(inner, path);
            path.pop();
        }
    }

    fn add(&mut self, item: &ItemImpl, module: &[String]) {
        let of_type = match &*item.self_ty {
            Type::Path(path) => self.place(&path.path, module),
            _ => None,
        };
        let of_trait = item.trait_.as_ref().and_then(|(path, _)| self.place(path, module));
        // A trait that cannot be named promises nothing.
        if of_trait.as_ref().is_some_and(|place| !self.reachable.contains(place)) {
            return;
        }
        let Some(place) = of_type.or(of_trait).filter(|place| self.reachable.contains(place)) else { return };
        if let Some(text) = implementation(item) {
            self.of.entry(place).or_default().insert(text);
        }
    }

    fn place(&self, path: &Path, module: &[String]) -> Option<Place> {
        let path: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        match self.names.resolve(module, &path)? {
            Meaning::Item(module, name) => Some((module, name)),
            Meaning::Module(_) => None,
        }
    }
}

fn declaration(item: &Item) -> String {
    let mut item = item.clone();
    let hidden = matches!(&item, Item::Struct(inner) if matches!(&inner.fields, Fields::Named(fields)
        if fields.named.iter().any(|field| !is_public(&field.vis))));
    Bare.visit_item_mut(&mut item);
    let is_trait = matches!(item, Item::Trait(_));
    let text = text(item);
    match text.trim_end().strip_suffix('}') {
        Some(fields) if hidden && fields.ends_with('{') => format!("{fields} /* private */ }}\n"),
        Some(fields) if hidden => format!("{fields}    /* and private ones */\n}}\n"),
        _ if is_trait => text,
        _ => without_bodies(&text),
    }
}

fn implementation(item: &ItemImpl) -> Option<String> {
    let mut item = item.clone();
    let is_of_trait = item.trait_.is_some();
    item.items.retain(|inner| match inner {
        ImplItem::Fn(inner) => !is_of_trait && is_public(&inner.vis) && !inner.attrs.iter().any(is_absent),
        ImplItem::Const(inner) => is_of_trait || is_public(&inner.vis),
        ImplItem::Type(_) => true,
        _ => false,
    });
    if !is_of_trait && item.items.is_empty() {
        return None;
    }
    item.items.sort_by_key(|inner| match inner {
        ImplItem::Fn(inner) => (2, inner.sig.ident.to_string()),
        ImplItem::Const(inner) => (0, inner.ident.to_string()),
        ImplItem::Type(inner) => (1, inner.ident.to_string()),
        _ => (3, String::new()),
    });
    let mut item = Item::Impl(item);
    Bare.visit_item_mut(&mut item);
    Some(without_bodies(&text(item)))
}

fn text(item: Item) -> String {
    prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: vec![item] })
}

/// Bodies are empty by then.
fn without_bodies(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| match line.strip_suffix(" {}") {
        Some(start) => all + start + ";\n",
        None => all + line + "\n",
    })
}

/// Leaves declarations alone: no bodies, values, documentation, private fields.
struct Bare;

impl VisitMut for Bare {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        let kept = ["cfg", "deprecated", "derive", "non_exhaustive", "repr"];
        attributes.retain(|attribute| kept.iter().any(|name| attribute.path().is_ident(name)));
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.clear();
    }

    fn visit_receiver_mut(&mut self, receiver: &mut syn::Receiver) {
        receiver.mutability = None;
        visit_mut::visit_receiver_mut(self, receiver);
    }

    fn visit_pat_ident_mut(&mut self, pattern: &mut syn::PatIdent) {
        pattern.mutability = None;
    }

    fn visit_fields_mut(&mut self, fields: &mut Fields) {
        match fields {
            Fields::Named(fields) => {
                // Those of variants say nothing: they are as public as the enum.
                let kept = fields.named.iter().filter(|field| shown(field)).cloned();
                fields.named = kept.collect();
            }
            Fields::Unnamed(fields) => {
                for field in fields.unnamed.iter_mut().filter(|field| !shown(field)) {
                    field.ty = parse_quote!(_);
                    field.vis = Visibility::Inherited;
                }
            }
            Fields::Unit => {}
        }
        visit_mut::visit_fields_mut(self, fields);
    }

    fn visit_variant_mut(&mut self, variant: &mut syn::Variant) {
        for field in &mut variant.fields {
            self.visit_attributes_mut(&mut field.attrs);
        }
        self.visit_attributes_mut(&mut variant.attrs);
    }

    fn visit_item_const_mut(&mut self, item: &mut syn::ItemConst) {
        *item.expr = Expr::Infer(parse_quote!(_));
        visit_mut::visit_item_const_mut(self, item);
    }

    fn visit_impl_item_const_mut(&mut self, item: &mut syn::ImplItemConst) {
        item.expr = Expr::Infer(parse_quote!(_));
        visit_mut::visit_impl_item_const_mut(self, item);
    }
}

fn shown(field: &Field) -> bool {
    is_public(&field.vis)
}
