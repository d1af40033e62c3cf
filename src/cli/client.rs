//! A way to a running server, and who we say we are there.
//!
//! A server in development mode believes `x-user-id` and `x-user-role`; any
//! other wants a bearer token.

use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::config::Config;

use super::CliError;
use super::serve::reachable;

/// A client's transport: a connection, and who calls.
pub(super) type Line = InterceptedService<Channel, Caller>;

#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Server to talk to [default: the configured address, else http://127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    target: Option<String>,
}

impl TargetArgs {
    /// # Errors
    /// [`CliError::Usage`] for what is no address, or asks for TLS.
    pub(super) fn endpoint(&self, config: &Config) -> Result<Endpoint, CliError> {
        let target = match &self.target {
            Some(target) => target.clone(),
            None => reachable(config.listen).to_string(),
        };
        if target.starts_with("https://") {
            let why = "--target: this client speaks plain HTTP/2 only; run it beside the server";
            return Err(CliError::Usage(why.to_owned()));
        }
        let url = if target.starts_with("http://") {
            target
        } else {
            format!("http://{target}")
        };
        Endpoint::from_shared(url.clone())
            .map_err(|error| CliError::Usage(format!("--target {url}: {error}")))
    }
}

/// # Errors
/// [`CliError::Failed`] that names the address.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Channel, CliError> {
    endpoint.connect().await.map_err(|_| {
        let url = endpoint.uri();
        CliError::Failed(format!(
            "no server answers at {url}; start one with `usher`"
        ))
    })
}

/// Adds who calls to each request.
#[derive(Debug, Clone)]
pub(super) struct Caller(Vec<(&'static str, MetadataValue<Ascii>)>);

impl Caller {
    /// Whom a server in development mode believes.
    ///
    /// # Errors
    /// [`CliError::Usage`] for an id that no header can carry.
    pub(super) fn dev(user: &str, is_admin: bool) -> Result<Self, CliError> {
        let mut headers = vec![("x-user-id", ascii("the user's id", user)?)];
        if is_admin {
            headers.push(("x-user-role", MetadataValue::from_static("admin")));
        }
        Ok(Self(headers))
    }

    /// # Errors
    /// [`CliError::Usage`] for a token that no header can carry.
    pub(super) fn bearer(token: &str) -> Result<Self, CliError> {
        let value = ascii("--token", &format!("Bearer {token}"))?;
        Ok(Self(vec![("authorization", value)]))
    }
}

fn ascii(what: &str, text: &str) -> Result<MetadataValue<Ascii>, CliError> {
    text.parse()
        .map_err(|_| CliError::Usage(format!("{what} has characters that a header cannot carry")))
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// What a server refused, as an operator reads it: code, reason, text, fields.
pub(super) fn refused(status: &Status) -> CliError {
    let mut text = format!("{:?}", status.code());
    if let Some(info) = status.get_details_error_info() {
        text.push_str(&format!(" ({})", info.reason));
    }
    text.push_str(": ");
    text.push_str(status.message());
    let fields = status.get_details_bad_request();
    for violation in fields.iter().flat_map(|fields| &fields.field_violations) {
        text.push_str(&format!(
            "\n  {}: {}",
            violation.field, violation.description
        ));
    }
    CliError::Failed(text)
}
