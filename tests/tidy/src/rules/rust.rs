//! Rules that look at the syntax of Rust files.

use anyhow::{Context, Result};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Finding, Source};

/// Past this a function hides a second thing.
const FUNCTION_LINES_MAX: usize = 80;
/// Macros that write to the standard streams; libraries log instead.
const PRINTING: [&str; 4] = ["println", "print", "eprintln", "eprint"];
/// Where prices and quantities pass through. Latencies are measured in files named `metrics.rs`.
const PRICE_PATHS: [&str; 10] = [
    "adapters/",
    "schema/src/",
    "edge/book/src/",
    "edge/host/src/contract",
    "edge/src/books.rs",
    "edge/src/contract",
    "edge/src/feed/",
    "edge/src/records/",
    "edge/src/replay/",
    "central/src/row/",
];
/// Where the programs do their work.
const WORKING_PATHS: [&str; 4] = ["adapters/", "central/", "edge/", "schema/"];
/// The places that read the environment: configuration, the terminal, tools. Anything else could be steered past its tests.
const ENVIRONMENT_PATHS: [&str; 7] = [
    "adapters/build/src/",
    "adapters/sdk/src/testkit/",
    "schema/config/src/",
    // Those of terminals and of systemd.
    "schema/service/src/colours.rs",
    "schema/service/src/journal_priority.rs",
    // The set-up of logs moved here from schema/config.
    "schema/service/src/logs.rs",
    // The address that a service manager gives.
    "schema/service/src/service_manager.rs",
];

pub fn check_rust(source: &Source) -> Result<Vec<Finding>> {
    let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
    let tokens: TokenStream = source.text.parse().map_err(|e| anyhow::anyhow!("{}: {e}", source.path))?;
    let mut rules = Rules { path: &source.path, findings: Vec::new() };
    rules.visit_file(&file);
    rules.tokens(tokens);
    Ok(rules.findings)
}

struct Rules<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Rules<'_> {
    fn report(&mut self, span: Span, what: impl Into<String>) {
        self.findings.push(Finding {
            path: self.path.to_owned(),
            line: span.start().line,
            what: what.into(),
        });
    }

    fn function(&mut self, name: &syn::Ident, block: &syn::Block) {
        let lines = block.span().end().line + 1 - name.span().start().line;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("function {name} has {lines} lines; at most {FUNCTION_LINES_MAX}");
            self.report(name.span(), what);
        }
    }

    /// Rules on words, so that they hold inside macros as well.
    fn tokens(&mut self, tokens: TokenStream) {
        let is_test = self.path.contains("tests/") || self.path.contains("benches/");
        let on_price_path = !is_test
            && !self.path.ends_with("metrics.rs")
            && PRICE_PATHS.iter().any(|prefix| self.path.starts_with(prefix));
        let mut previous = None;
        for token in tokens {
            if let TokenTree::Punct(punct) = &token
                && punct.as_char() == '!'
                && let Some(TokenTree::Ident(name)) = &previous
                && PRINTING.contains(&name.to_string().as_str())
                && !is_test
            {
                self.report(
                    name.span(),
                    format!("{name}! outside of tests: log, or write to a given output"),
                );
            }
            match &token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => self.word(ident, on_price_path),
                TokenTree::Literal(literal) if on_price_path => self.literal(literal),
                _ => {}
            }
            previous = Some(token);
        }
    }

    fn word(&mut self, ident: &proc_macro2::Ident, on_price_path: bool) {
        match ident.to_string().as_str() {
            "unbounded_channel" | "unbounded" => {
                self.report(
                    ident.span(),
                    "a queue without a bound: bound it and say what happens when it is full",
                );
            }
            "f32" | "f64" if on_price_path => {
                self.report(ident.span(), "a float on the way of prices: use exact decimals");
            }
            _ => {}
        }
    }

    fn literal(&mut self, literal: &proc_macro2::Literal) {
        let is_float = matches!(syn::Lit::new(literal.clone()), syn::Lit::Float(_));
        if is_float {
            self.report(literal.span(), "a float on the way of prices: use exact decimals");
        }
    }

    fn environment(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let reads = matches!(
            names.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
            [.., "env", "var" | "var_os" | "vars" | "vars_os"]
        );
        let is_within = |places: &[&str]| places.iter().any(|prefix| self.path.starts_with(prefix));
        if reads
            && !self.path.contains("tests/")
            && is_within(&WORKING_PATHS)
            && !is_within(&ENVIRONMENT_PATHS)
        {
            self.report(path.span(), "a variable of the environment steers this: make it configuration");
        }
    }

    fn dropped_task(&mut self, expression: &syn::Expr) {
        if let syn::Expr::Call(call) = expression
            && let syn::Expr::Path(function) = &*call.func
        {
            let path: Vec<String> = function.path.segments.iter().map(|s| s.ident.to_string()).collect();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if matches!(
                path.as_slice(),
                ["tokio", "spawn"]
                    | ["spawn"]
                    | ["tokio", "task", "spawn" | "spawn_blocking" | "spawn_local"]
                    | ["task", "spawn" | "spawn_blocking" | "spawn_local"]
                    | ["thread", "spawn"]
                    | ["std", "thread", "spawn"]
            ) {
                self.report(call.span(), "a task whose handle nobody keeps: give it an owner that awaits it");
            }
        }
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.environment(path);
        visit::visit_path(self, path);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        match statement {
            syn::Stmt::Expr(expression, Some(_)) => self.dropped_task(expression),
            syn::Stmt::Local(local) if matches!(local.pat, syn::Pat::Wild(_)) => {
                if let Some(init) = &local.init {
                    self.dropped_task(&init.expr);
                }
            }
            _ => {}
        }
        visit::visit_stmt(self, statement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check_rust(&source).unwrap().into_iter().map(|finding| finding.what).collect()
    }

    /// Goal: each syntax rule sees what it is for, and nothing else. Method: one text that breaks it, one that does not.
    #[test]
    fn every_syntax_rule_bites() {
        let long = |lines| format!("fn f() {{\n{}}}\n", "let _x = 1;\n".repeat(lines));
        assert_eq!(check("edge/src/a.rs", &long(78)), Vec::<String>::new());
        assert!(check("edge/src/a.rs", &long(79))[0].contains("81 lines"));
        assert!(
            check("edge/src/a.rs", "fn f() { let (a, b) = mpsc::unbounded_channel::<u8>(); }")[0]
                .contains("bound")
        );
        for bare in
            ["tokio::spawn(async {});", "let _ = tokio::task::spawn(x);", "std::thread::spawn(|| {});"]
        {
            assert!(check("edge/src/a.rs", &format!("fn f() {{ {bare} }}"))[0].contains("handle"), "{bare}");
        }
        assert!(
            check("edge/src/a.rs", "fn f() { let h = tokio::spawn(async {}); set.spawn(x); }").is_empty()
        );
        assert!(check("edge/src/a.rs", "fn f() { println!(\"x\"); }")[0].contains("println!"));
        assert!(check("edge/tests/a.rs", "fn f() { println!(\"x\"); }").is_empty());
        assert!(check("schema/src/a.rs", "fn f(x: f64) {}")[0].contains("float"));
        assert!(check("adapters/x/src/a.rs", "const X: u8 = (1.5 as u8);")[0].contains("float"));
        assert!(check("edge/src/metrics.rs", "fn f(x: f64) {}").is_empty());
        let steered = "fn f() -> bool { std::env::var(\"X\").is_ok() }";
        assert!(check("central/src/a.rs", steered)[0].contains("environment"));
        assert!(check("central/tests/a.rs", steered).is_empty());
        assert!(check("schema/config/src/a.rs", steered).is_empty());
    }
}
