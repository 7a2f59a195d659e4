//! `marketprism-fuzz-seeds`: writes the seeds of every target into its corpus folder.

use std::io;

use marketprism_fuzz::{TARGETS, seeds};

fn main() -> io::Result<()> {
    for target in TARGETS.into_iter().flatten() {
        let folder = target.corpus();
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in seeds(*target).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
