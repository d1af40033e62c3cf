//! One proxied connection, from accept to its end.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::pump::{Pump, PumpEnd};
use super::{Direction, Shared, reset};

/// Who is reset when a connection ends.
enum End {
    Quiet,
    ResetClient,
    ResetTarget,
    ResetBoth,
}

/// From where to where.
pub(super) struct Ends {
    pub client: IpAddr,
    pub target: SocketAddr,
}

pub(super) async fn serve(
    mut client: TcpStream,
    ends: Ends,
    id: u64,
    shared: &Shared,
    stop: &CancellationToken,
) {
    let mut settings = shared.settings.subscribe();
    let cuts = settings.borrow().cuts;
    let connect = TcpStream::connect(ends.target);
    let Some(Ok(mut server)) = stop.run_until_cancelled(connect).await else {
        reset(&client);
        return;
    };
    // A proxy that batches would hide what is to be measured.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);

    let end = tokio::select! {
        end = pump_both((&mut client, ends.client), &mut server, id, shared) => end,
        _ = settings.wait_for(|settings| settings.cuts != cuts) => End::ResetBoth,
        () = stop.cancelled() => End::ResetBoth,
    };
    if matches!(end, End::ResetClient | End::ResetBoth) {
        reset(&client);
    }
    if matches!(end, End::ResetTarget | End::ResetBoth) {
        reset(&server);
    }
}

async fn pump_both(
    (client, address): (&mut TcpStream, IpAddr),
    server: &mut TcpStream,
    id: u64,
    shared: &Shared,
) -> End {
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let up = Pump::new(Direction::Up, id, address, shared).run(client_in, server_out);
    let down = Pump::new(Direction::Down, id, address, shared).run(server_in, client_out);
    tokio::pin!(up, down);
    // Either direction may close alone; anything else ends the connection.
    let (mut up_open, mut down_open) = (true, true);
    while up_open || down_open {
        tokio::select! {
            end = &mut up, if up_open => match end {
                PumpEnd::Closed => up_open = false,
                PumpEnd::Cut => return End::ResetClient,
                PumpEnd::Broken => return End::ResetBoth,
            },
            end = &mut down, if down_open => match end {
                PumpEnd::Closed => down_open = false,
                PumpEnd::Cut => return End::ResetTarget,
                PumpEnd::Broken => return End::ResetBoth,
            },
        }
    }
    End::Quiet
}
