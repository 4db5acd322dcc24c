"""`night-watch`: a small flow, every ten minutes and after each bad end."""
from prefect import flow

@flow(name="night-watch")
def night_watch() -> None:
    """Sends what could not be sent, tells of runs that ended without a word, tidies up."""
    print("ok")
