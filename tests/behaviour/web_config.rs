//! `--web.config.file`, as those meet it who write it, and those who ask the server.

mod clients;
mod discovery;
mod flags;
mod floods;
mod limits;
mod passwords;
mod prometheus;
mod reload;
mod served;
mod table;
mod tls;
