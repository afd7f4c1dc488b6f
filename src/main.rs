//! The `tokenca` program: see [`tokenca::daemon`] and [`tokenca::cli`].

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tokenca::cli::{Options, client};
use tokenca::daemon;
use tokenca::token::{MODULE_WORD, serve_module};

/// A certificate authority whose keys live on a PKCS#11 token.
#[derive(Parser)]
#[command(version, after_help = COMMANDS, arg_required_else_help = false)]
struct Arguments {
    /// State directory of the server [default: /var/lib/tokenca for root, else in the user's home]
    #[arg(long, env = "TOKENCA_STATE", value_name = "DIR")]
    state: Option<PathBuf>,

    /// Show results as JSON
    #[arg(long)]
    json: bool,

    /// Answer questions with yes
    #[arg(long)]
    yes: bool,

    /// With `serve`: the configuration, instead of startup-config in the state directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// What to do
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

const COMMANDS: &str = "\
Without a command: an interactive shell, in which ? shows what may follow.

Commands:
  serve             Run the server in the foreground
  configure FILE    Apply configuration lines, - for standard input
  anything else     One command in the running server, or on the state directory when none runs:
                    tokenca show crypto pki server
                    tokenca crypto pki server mycs grant all
                    tokenca show '?'          shows what may follow

Exits with 0 when done, 1 when refused or failed, 2 when it was no command.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let state = arguments.state.unwrap_or_else(client::default_state);
    let options = Options { json: arguments.json, yes: arguments.yes };
    let words: Vec<_> = arguments.words.iter().map(String::as_str).collect();
    if arguments.config.is_some() && words != ["serve"] {
        return wrong("--config goes with `tokenca serve`");
    }
    match words[..] {
        // A module for a server that runs: not for people.
        [MODULE_WORD, module] => serve_module(Path::new(module)),
        [] => ExitCode::from(client::shell(&state, None, options)),
        ["serve"] => serve(state, arguments.config),
        ["configure"] | ["configure", "terminal"] => {
            ExitCode::from(client::shell(&state, Some("configure terminal"), options))
        }
        ["configure", file] => match read(file) {
            Ok(text) => ExitCode::from(client::configure(&state, text, options)),
            Err(error) => {
                eprintln!("% {file} cannot be read: {error}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(client::exec(&state, arguments.words, options)),
    }
}

fn serve(state: PathBuf, config: Option<PathBuf>) -> ExitCode {
    match daemon::run(state, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("% {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &str) -> io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("% {message}");
    ExitCode::from(2)
}
