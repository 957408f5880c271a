use super::*;

#[test]
fn errors_are_told_apart() {
    let unknown = |details: &'static str| Error::new(ErrorKind::Unknown, details);
    for (error, name, is_outage, is_of_client) in [
        (Error::new(ErrorKind::Timeout, ""), "timeout", true, true),
        (Error::new(ErrorKind::IO, "Connection closed."), "connection", true, true),
        (unknown("Failed to route command."), "connection", true, true),
        (unknown("Client is not initialized."), "connection", true, true),
        (unknown(""), "connection", true, true),
        (Error::new(ErrorKind::Routing, "Too many redirections."), "refused", false, true),
        (unknown("ERR no such command"), "refused", false, false),
        (unknown("OOM command not allowed"), "refused", false, false),
        (unknown("TRYAGAIN Multiple keys request"), "refused", false, false),
        (Error::new(ErrorKind::InvalidArgument, "WRONGTYPE"), "refused", false, false),
    ] {
        let error = CommandError::from(error);
        let told = (error.name(), error.is_outage(), error.is_of_client());
        assert_eq!(told, (name, is_outage, is_of_client), "{error}");
    }
}

#[test]
fn protocol_is_that_of_the_url() {
    for (url, version) in [
        ("redis://localhost", RespVersion::RESP2),
        ("redis://localhost/3?protocol=resp3", RespVersion::RESP3),
        ("redis-cluster://a:1?node=b:2&protocol=3", RespVersion::RESP3),
        ("redis://localhost?protocol=resp2", RespVersion::RESP2),
        ("redis://:protocol=resp3@localhost", RespVersion::RESP2),
    ] {
        let server = Server::at(&Address { url: url.to_owned(), login: None }).unwrap();
        assert_eq!(server.config.version, version, "{url}");
    }
}

#[tokio::test]
async fn redirected_command_is_sent_three_times() {
    for (redirections, expected) in [(0, Ok(1)), (2, Ok(3)), (3, Err(3))] {
        let mut sent = 0;
        let result = redirected(|| {
            sent += 1;
            let moved = Error::new(ErrorKind::Routing, "Too many redirections.");
            std::future::ready(if sent > redirections { Ok(sent) } else { Err(moved) })
        });
        let result = result.await.map_err(|_| ());
        assert_eq!(result.map_err(|()| sent), expected);
    }
}
