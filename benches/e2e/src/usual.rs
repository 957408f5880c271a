//! Serves the stack that axum services usually have: `usual`.

use std::error::Error;

use tokio::net::TcpListener;

mod app;
mod on_axum;
mod usual_stack;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, usual_stack::usual()).await?;
    Ok(())
}
