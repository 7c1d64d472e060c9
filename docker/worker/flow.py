"""The flow of this worker's deployment, to be replaced by your own: whatever deploy() registers is run here."""

from pathlib import Path

from prefect import flow, get_run_logger, task


@task
def greet() -> None:
    get_run_logger().info("The worker on Cloud Run says hello")


@flow
def simple_flow() -> None:
    greet()


def deploy(work_pool: str) -> None:
    """Registers what the worker runs; called at each of its starts, so it must be fit to be repeated."""
    here = Path(__file__)
    simple_flow.from_source(source=str(here.parent), entrypoint=f"{here.name}:simple_flow").deploy(
        name="cloud-run-deployment",
        work_pool_name=work_pool,
        cron="0 * * * *",
        print_next_steps=False,
    )
