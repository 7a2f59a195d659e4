//! Man pages and shell completions of a program, written from the definition of its command line.

use std::io::Result;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Writes a page per command to `man1`, and completions for bash, zsh and fish to `completions`.
pub fn write_pages(mut command: Command, folder: &Path) -> Result<()> {
    let (pages, completions) = (folder.join("man1"), folder.join("completions"));
    std::fs::create_dir_all(&pages)?;
    std::fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, &completions)?;
    }
    clap_mangen::generate_to(command, &pages)
}
