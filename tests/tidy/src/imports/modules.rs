//! The modules of one crate: their files, items, imports, and the paths that their code names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::Source;

/// A module: a file, or a block `mod x { .. }` inside one.
#[derive(Default)]
pub struct Module {
    pub parent: Option<usize>,
    /// Names from the crate's root; empty for the root.
    pub path: Vec<String>,
    pub file: String,
    pub children: BTreeMap<String, usize>,
    pub items: BTreeSet<String>,
    /// Imported names and the paths that they stand for.
    pub imports: BTreeMap<String, Vec<String>>,
    pub globs: Vec<Vec<String>>,
    pub paths: Vec<NamedPath>,
}

/// A path in a module's code.
pub struct NamedPath {
    pub segments: Vec<String>,
    pub line: usize,
    pub is_re_export: bool,
}

/// The modules of a crate; the first is the root.
pub struct Tree {
    pub package: String,
    pub modules: Vec<Module>,
}

impl Tree {
    /// The modules that `src/lib.rs` and `src/main.rs` declare, without those for tests only.
    pub fn read(package: &str, sources: &[Source]) -> Result<Option<Tree>> {
        let files: BTreeMap<&str, &str> = sources
            .iter()
            .filter_map(|source| {
                Some((source.path.strip_prefix(package)?.strip_prefix("/src/")?, source.text.as_str()))
            })
            .collect();
        let mut reader =
            Reader { files: &files, tree: Tree { package: package.to_owned(), modules: Vec::new() } };
        for root in ["lib.rs", "main.rs"] {
            if files.contains_key(root) {
                let index = reader.add(None, Vec::new(), root.to_owned());
                reader.file(index, "")?;
            }
        }
        Ok((!reader.tree.modules.is_empty()).then_some(reader.tree))
    }

    pub fn root(&self, module: usize) -> usize {
        self.modules[module].parent.map_or(module, |parent| self.root(parent))
    }

    /// Path of a file from the repository's root.
    pub fn path(&self, file: &str) -> String {
        format!("{}/src/{file}", self.package)
    }
}

struct Reader<'a> {
    files: &'a BTreeMap<&'a str, &'a str>,
    tree: Tree,
}

impl Reader<'_> {
    fn add(&mut self, parent: Option<usize>, path: Vec<String>, file: String) -> usize {
        let index = self.tree.modules.len();
        if let (Some(parent), Some(name)) = (parent, path.last()) {
            self.tree.modules[parent].children.insert(name.clone(), index);
        }
        self.tree.modules.push(Module { parent, path, file, ..Module::default() });
        index
    }

    fn file(&mut self, module: usize, folder: &str) -> Result<()> {
        let name = self.tree.modules[module].file.clone();
        let Some(text) = self.files.get(name.as_str()) else { return Ok(()) };
        let file = syn::parse_file(text).with_context(|| self.tree.path(&name))?;
        self.items(module, folder, &file.items)
    }

    fn items(&mut self, module: usize, folder: &str, items: &[syn::Item]) -> Result<()> {
        let mut code = Code { module: &mut self.tree.modules[module] };
        items.iter().for_each(|item| code.visit_item(item));
        for item in items {
            let syn::Item::Mod(item) = item else { continue };
            if is_test(&item.attrs) {
                continue;
            }
            let name = item.ident.to_string();
            let inner = format!("{folder}{name}/");
            let path = [self.tree.modules[module].path.clone(), vec![name.clone()]].concat();
            if let Some((_, items)) = &item.content {
                let file = self.tree.modules[module].file.clone();
                let child = self.add(Some(module), path, file);
                self.items(child, &inner, items)?;
            } else {
                let candidates = [format!("{folder}{name}.rs"), format!("{inner}mod.rs")];
                let file = candidates.into_iter().find(|file| self.files.contains_key(file.as_str()));
                let Some(file) = file else { continue };
                let child = self.add(Some(module), path, file);
                self.file(child, &inner)?;
            }
        }
        Ok(())
    }
}

/// Is it compiled in tests only?
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words = list.tokens.to_string();
        attribute.path().is_ident("cfg") && (words == "test" || words.starts_with("all (test"))
    })
}

/// Collects items, imports and paths of one module; blocks `mod x { .. }` are modules of their own.
struct Code<'a> {
    module: &'a mut Module,
}

impl Code<'_> {
    fn path(&mut self, segments: Vec<String>, line: usize, is_re_export: bool) {
        self.module.paths.push(NamedPath { segments, line, is_re_export });
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String], is_re_export: bool) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(&path.ident), is_re_export),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, before, is_re_export));
            }
            syn::UseTree::Glob(glob) => {
                self.module.globs.push(before.to_vec());
                self.path(before.to_vec(), glob.star_token.spans[0].start().line, is_re_export);
            }
            syn::UseTree::Name(name) => self.bind(with(&name.ident), &name.ident, is_re_export),
            syn::UseTree::Rename(rename) => self.bind(with(&rename.ident), &rename.rename, is_re_export),
        }
    }

    fn bind(&mut self, mut path: Vec<String>, name: &syn::Ident, is_re_export: bool) {
        let mut bound = name.to_string();
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
            if bound == "self" {
                bound = path.last().cloned().unwrap_or_default();
            }
        }
        self.module.imports.insert(bound, path.clone());
        self.path(path, name.span().start().line, is_re_export);
    }

    /// Paths in a macro's tokens, which are no syntax yet.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(std::mem::take(&mut segments), line, false);
                        line = ident.span().start().line;
                    }
                    segments.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += if punct.spacing() == Spacing::Joint || colons == 1 { 1 } else { 3 };
                }
                other => {
                    self.path(std::mem::take(&mut segments), line, false);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(segments, line, false);
    }
}

impl<'ast> Visit<'ast> for Code<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (name, attributes) = match item {
            syn::Item::Const(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Enum(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Fn(item) => (Some(&item.sig.ident), &item.attrs),
            syn::Item::Macro(item) => (item.ident.as_ref(), &item.attrs),
            syn::Item::Static(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Struct(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Trait(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Type(item) => (Some(&item.ident), &item.attrs),
            syn::Item::Impl(item) => (None, &item.attrs),
            syn::Item::Use(item) => (None, &item.attrs),
            syn::Item::Mod(_) => return,
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.module.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_re_export = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &[], is_re_export);
    }

    /// `pub(super)` uses nothing of the parent.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.path(segments, line, false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}
