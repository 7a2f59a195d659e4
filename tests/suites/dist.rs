//! Promise: the packages of `make dist` hold what they say, their programs run from them, and a system that takes, upgrades and removes them
//! keeps configuration and data.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;
use serde_json::Value;

const ADAPTER: &str = "kraken";

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn packages_have_all_parts_with_checksums_and_their_programs_run() {
    let folder = tempfile::tempdir().unwrap();
    let (out, key) = (folder.path().join("out"), folder.path().join("keys/signing.key"));
    let edge = parts::binary("marketprism-edge");
    let mut dist = Command::new(parts::binary("marketprism-dist"));
    dist.args(["pack", "--root"]).arg(parts::root()).arg("--binaries").arg(edge.parent().unwrap());
    dist.arg("--adapters").arg(parts::adapter_of("binance_spot").parent().unwrap());
    dist.args(["--adapter", ADAPTER]).arg("--key").arg(&key).arg("--out").arg(&out);
    let said = run(&mut dist);
    assert!(said.contains("glibc 2."), "{said}");

    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out));
    let unpacked = folder.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let name = format!("marketprism-{}-{}-linux-gnu", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    run(Command::new("tar").arg("-xzf").arg(out.join(format!("{name}.tar.gz"))).arg("-C").arg(&unpacked));
    let root = unpacked.join(&name);
    for program in ["marketprism-edge", "marketprism-central"] {
        let version = run(Command::new(root.join("bin").join(program)).arg("--version"));
        assert_eq!(version.trim(), format!("{program} {}", env!("CARGO_PKG_VERSION")));
        let bill: Value =
            serde_json::from_str(&text(&root.join(format!("sbom/{program}.cdx.json")))).unwrap();
        let crates: Vec<&str> =
            bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        let has = |name: &str| crates.contains(&name);
        // The edge has the sandbox, central the client of ClickHouse; nobody links what tests need.
        assert_eq!(
            (has("wasmtime"), has("clickhouse")),
            match program {
                "marketprism-edge" => (true, false),
                _ => (false, true),
            }
        );
        assert!(has("async-nats") && !has("tempfile"), "{crates:?}");
    }
    for (file, part) in [
        ("share/man1/marketprism-central-validate.1", "Check the whole way end to end"),
        ("share/man1/marketprism-edge-adapter-sign.1", "golden frames"),
        ("share/completions/marketprism-central.bash", "ab-latency"),
        ("share/completions/_marketprism-edge", "reload"),
        ("share/completions/marketprism-edge.fish", "replay"),
        ("REQUIREMENTS", "libc.so.6"),
        ("deploy/README.md", "apt-get install"),
        ("deploy/nats/edges.toml", "[[edge]]"),
        ("deploy/systemd/nats-server.service", "ExecStart=/usr/bin/nats-server"),
    ] {
        assert!(text(&root.join(file)).contains(part), "{part} in {file}");
    }

    // The edge takes the adapter by the key next to it, and the digest is that of the file.
    let adapters = root.join("adapters");
    run(Command::new("sh")
        .arg("-c")
        .arg("sed s/^sha256:// DIGESTS | sha256sum --check --strict")
        .current_dir(&adapters));
    let signer = text(&adapters.join("signer.pub"));
    let component = std::fs::read(adapters.join(format!("{ADAPTER}.wasm"))).unwrap();
    let trusted = marketprism_schema::VerifyingKey::parse(signer.trim()).unwrap();
    marketprism_schema::verify_signature(&component, &[trusted]).unwrap();

    an_adapter_is_built_outside_of_the_repository(&root);
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("SKIPPED: dpkg-deb is missing");
        return;
    }
    debian_packages(&out, folder.path());
    a_system_takes_and_gives_back_the_packages(&out, &folder.path().join("system"));

    // The archive installs without the packages too.
    let dest = folder.path().join("dest");
    run(Command::new(root.join("deploy/systemd/install.sh")).args(["edge", "central"]).env("DESTDIR", &dest));
    run(Command::new(dest.join("usr/bin/marketprism-central")).arg("--version"));
    assert!(dest.join(format!("usr/lib/marketprism/adapters/{ADAPTER}.wasm")).exists());
}

#[test]
fn an_architecture_without_packages_is_refused_with_those_that_have_them() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["build", "pack"] {
        let mut dist = Command::new(parts::binary("marketprism-dist"));
        dist.args([command, "--arch", "riscv64", "--root"]).arg(folder.path());
        if command == "pack" {
            dist.arg("--key").arg(folder.path().join("key")).arg("--out").arg(folder.path().join("out"));
        }
        let output = dist.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("riscv64") && said.contains("amd64, arm64"), "{said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
    }
}

fn debian_packages(out: &Path, folder: &Path) {
    let mut packages = 0;
    for entry in std::fs::read_dir(out).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        packages += 1;
        let file = path.file_name().unwrap().to_str().unwrap();
        let program = file.split('_').next().unwrap();
        let part = program.trim_start_matches("marketprism-");
        let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&path));
        for wanted in [
            format!("./usr/bin/{program}"),
            format!("./etc/marketprism/{part}.toml"),
            format!("./usr/share/man/man1/{program}.1.gz"),
            format!("./usr/share/bash-completion/completions/{program}"),
            format!("./usr/share/doc/{program}/sbom.cdx.json"),
            format!("./usr/lib/sysusers.d/{program}.conf"),
            format!("./usr/lib/tmpfiles.d/{program}.conf"),
            format!("./usr/share/doc/{program}/changelog.gz"),
        ] {
            let line = listed.lines().find(|line| line.ends_with(&wanted));
            assert!(line.is_some_and(|line| line.contains("root/root")), "{wanted}: {listed}");
        }
        assert_eq!(listed.contains(&format!("/usr/lib/marketprism/adapters/{ADAPTER}.wasm")), part == "edge");
        let depends = run(Command::new("dpkg-deb").args(["--field"]).arg(&path).arg("Depends"));
        assert!(depends.starts_with("libc6 (>= 2."), "{depends}");
        let tree = folder.join(part);
        run(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(&tree));
        run(Command::new(tree.join("usr/bin").join(program)).arg("--version"));
    }
    assert_eq!(packages, 2);
}

/// The template, by the archive's own SDK and build tool. Only what the repository's build compiled of others' crates is used again.
fn an_adapter_is_built_outside_of_the_repository(root: &Path) {
    let mut library = Command::new("rustc");
    library.args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]);
    if !Path::new(run(library.current_dir(parts::root())).trim()).is_dir() {
        eprintln!("SKIPPED: without the target's standard library the build compiles it for a minute");
        return;
    }
    let kit = root.join("sdk");
    let mut build = Command::new(root.join("bin/marketprism-adapter-build"));
    build.arg("template").arg("--target-dir").arg(parts::root().join("target/adapters-build"));
    let built = run(build.current_dir(&kit).env("CARGO_NET_OFFLINE", "true"));
    assert!(built.starts_with("template ") && built.contains(kit.to_str().unwrap()), "{built}");
    let mut test = Command::new(root.join("bin/marketprism-edge"));
    test.args(["adapter", "test", "target/adapters/template.wasm", "--mutations", "16"]);
    let said = run(test.arg("--frames").arg(kit.join("adapters/template")).current_dir(&kit));
    assert!(said.contains("golden"), "{said}");
}

/// dpkg runs the packages' scripts for a system that is only a folder.
fn a_system_takes_and_gives_back_the_packages(out: &Path, system: &Path) {
    let is_root = run(Command::new("id").arg("-u")).trim() == "0";
    if !is_root || Command::new("systemd-tmpfiles").arg("--version").output().is_err() {
        eprintln!("SKIPPED: dpkg in a folder needs root and systemd's tools");
        return;
    }
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        std::fs::create_dir_all(system.join(folder)).unwrap();
    }
    std::fs::write(system.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |arguments: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(system).args([
            "--force-script-chrootless",
            "--force-depends",
            "--force-confdef",
        ]);
        run(dpkg.args(arguments).current_dir(out));
    };
    let package = |program: &str| {
        let has = |name: &String| name.starts_with(program) && name.ends_with(".deb");
        let names = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).find(has).unwrap()
    };
    let (edge, central) = (package("marketprism-edge"), package("marketprism-central"));
    dpkg(&["--install", &edge, &central]);
    let users = text(&system.join("etc/passwd"));
    let user = users.lines().find(|line| line.starts_with("marketprism:")).unwrap();
    let fields: Vec<u32> = user.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
    let at = |path: &str| std::fs::metadata(system.join(path)).unwrap();
    for config in ["etc/marketprism/edge.toml", "etc/marketprism/central.toml"] {
        assert_eq!((at(config).gid(), at(config).mode() & 0o777), (fields[1], 0o640), "{config}");
    }
    let data = "var/lib/marketprism/edge";
    assert_eq!((at(data).uid(), at(data).mode() & 0o777), (fields[0], 0o750));

    std::fs::write(system.join(data).join("journal"), "events").unwrap();
    std::fs::write(system.join("etc/marketprism/edge.toml"), "# mine").unwrap();
    dpkg(&["--install", &edge]);
    assert_eq!(text(&system.join("etc/marketprism/edge.toml")), "# mine", "an upgrade keeps it");
    dpkg(&["--remove", "marketprism-edge"]);
    assert!(!system.join("usr/bin/marketprism-edge").exists());
    assert_eq!(text(&system.join("etc/marketprism/edge.toml")), "# mine", "a removal keeps it");
    dpkg(&["--purge", "marketprism-edge", "marketprism-central"]);
    assert!(!system.join("etc/marketprism/edge.toml").exists());
    assert_eq!(text(&system.join(data).join("journal")), "events", "a purge keeps data");
}
