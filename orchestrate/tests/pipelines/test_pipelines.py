# SPDX-License-Identifier: Apache-2.0
"""Runs of pipelines in the database: order, fan-in, freshness, failures, and who may be first."""

import threading
from datetime import UTC

import psycopg
import pytest

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import ConflictError, NotFoundError, RefusedError
from ipai_orchestrate.pipelines import PipelineFile, PipelineRegister


def step(name, *, after=(), **settings):
    kind = {} if "select" in settings else {"instance": f"github-{name}"}
    return {"name": name, **kind, "after": list(after), **settings}


class Desk:
    """Applies pipelines and plays the worker of their steps."""

    def __init__(self, connection, plane, make_instance):
        self.connection, self.plane, self.make_instance = connection, plane, make_instance
        self.register = PipelineRegister(connection)

    def apply(self, *steps, name="p", **spec):
        for one in steps:
            if "instance" in one:
                self.make_instance(one["instance"])
        return self.register.apply(
            PipelineFile(name, f"pipeline: {name}", {"steps": list(steps), **spec})
        )

    def steps(self, run_id):
        return {one["step"]: one["status"] for one in self.register.status(run_id).steps}

    def work(self, outcome="succeeded", **outcomes):
        """Perform all that is queued, once; return the instances in order."""
        done = []
        while run := self.plane.claim(None, "desk"):
            done.append(run.instance_id)
            how = outcomes.get(run.instance_id.removeprefix("github-"), outcome)
            if how == "succeeded":
                self.plane.complete(run, 1, stateless=True)
            else:
                self.plane.fail(run, how, "went wrong")
        return done

    def drive(self, run_id, **outcomes):
        """Work and advance until the pipeline has ended; return what was run in each round."""
        rounds = []
        for _ in range(20):
            if self.register.status(run_id).status != "running":
                return rounds
            rounds.append(sorted(self.work(**outcomes)))
            self.register.advance()
        raise AssertionError(self.steps(run_id))


@pytest.fixture
def desk(connection, control_plane, make_instance):
    return Desk(connection, control_plane, make_instance)


def test_steps_run_in_their_order_side_by_side_where_they_may(desk):
    desk.apply(step("a"), step("b"), step("c", after=["a", "b"]), step("d", after=["c"]))
    run_id = desk.register.run("p")

    assert {"a": "running", "b": "running", "c": "waiting", "d": "waiting"} == desk.steps(run_id)
    assert [["github-a", "github-b"], ["github-c"], ["github-d"]] == desk.drive(run_id)
    found = desk.register.status(run_id)
    assert ("succeeded", "manual", None) == (found.status, found.triggered_by, found.error_summary)
    assert {"pipeline"} == {run.triggered_by for run in desk.plane.runs(10)}
    assert found.steps[0]["rows_processed"] == 1


def test_a_fan_in_waits_for_the_last_of_them(desk):
    desk.apply(step("a"), step("b"), step("c", after=["a", "b"]))
    run_id = desk.register.run("p")
    run = desk.plane.claim(None, "desk")
    desk.plane.complete(run, stateless=True)
    desk.register.advance()

    assert ["running", "succeeded", "waiting"] == sorted(desk.steps(run_id).values())


@pytest.mark.parametrize(
    ("on_failure", "status", "steps"),
    [
        ("abort", "failed", {"a": "failed", "b": "succeeded", "c": "skipped", "d": "skipped"}),
        (
            "continue",
            "succeeded",
            {"a": "failed", "b": "succeeded", "c": "succeeded", "d": "succeeded"},
        ),
    ],
)
def test_a_failed_step_ends_the_pipeline_or_does_not(desk, on_failure, status, steps):
    desk.apply(
        step("a", on_failure=on_failure),
        step("b"),
        step("c", after=["a"]),
        step("d", after=["b", "c"]),
    )
    run_id = desk.register.run("p")
    desk.drive(run_id, a="configuration")
    found = desk.register.status(run_id)

    assert (status, steps) == (found.status, desk.steps(run_id))
    assert (status == "failed") == (found.error_summary == "Step a failed: went wrong")


def test_a_step_that_is_retried_has_not_failed_yet(desk):
    desk.apply(step("a"))
    run_id = desk.register.run("p")
    desk.work("tap")
    desk.register.advance()

    assert {"a": "running"} == desk.steps(run_id)
    desk.connection.execute(
        "update connectors.connector_runs set run_after = now() where status = 'queued'"
    )
    assert [["github-a"]] == desk.drive(run_id)
    (shown,) = desk.register.status(run_id).steps
    assert (2, "succeeded") == (shown["attempt"], shown["run_status"])


def test_a_step_that_is_fresh_is_not_run_and_lets_the_next_begin(desk):
    desk.apply(step("a", max_age_seconds=3600), step("b", after=["a"]))
    first = desk.register.run("p")
    desk.drive(first)
    second = desk.register.run("p")

    assert {"a": "fresh", "b": "running"} == desk.steps(second)


def test_an_instance_that_cannot_be_queued_fails_its_step(desk):
    desk.apply(step("a"), step("b", after=["a"]))
    desk.plane.set_instance_status("github-a", "paused")
    run_id = desk.register.run("p")
    found = desk.register.status(run_id)

    assert ("failed", {"a": "failed", "b": "skipped"}) == (found.status, desk.steps(run_id))
    assert "is paused" in found.error_summary


def test_a_transform_is_a_run_of_an_instance_of_its_own(desk):
    desk.apply(step("build", select=["gold_x"]))
    run_id = desk.register.run("p")
    run = desk.plane.claim(None, "desk", sources=["transform"])

    assert ("transform_p_build", "transform", {"select": ["gold_x"]}, "platform") == (
        run.instance_id,
        run.source_type,
        run.config,
        run.env,
    )
    desk.plane.complete(run, stateless=True)
    desk.register.advance()
    assert "succeeded" == desk.register.status(run_id).status


def test_long_names_make_different_instances(desk):
    long = "x" * 40
    desk.apply(step(long, select=[]), step("y" * 40, select=[]), name=long)
    names = [one.id for one in desk.plane.instances()]

    assert 2 == len(set(names))
    assert all(len(name) <= 63 for name in names)


def test_only_one_run_of_a_pipeline_at_a_time(desk):
    desk.apply(step("a"))
    run_id = desk.register.run("p")
    with pytest.raises(ConflictError, match=str(run_id)):
        desk.register.run("p")


def test_a_running_pipeline_keeps_the_spec_it_began_with(desk):
    desk.apply(step("a"), step("b", after=["a"]))
    run_id = desk.register.run("p")
    changed = desk.apply(step("a"))

    assert (2, False, True) == (changed.version, changed.created, changed.changed)
    assert [["github-a"], ["github-b"]] == desk.drive(run_id)


def test_applying_the_same_again_changes_nothing(desk):
    first, second = desk.apply(step("a")), desk.apply(step("a"))

    assert ((1, True), (1, False)) == (
        (first.version, first.changed),
        (second.version, second.changed),
    )


def test_a_cancelled_pipeline_ends_with_its_runs(desk):
    desk.apply(step("a"), step("b"), step("c", after=["a"]))
    run_id = desk.register.run("p")
    running = desk.plane.claim(None, "desk")

    assert "cancelled" == desk.register.cancel(run_id, "enough")
    assert {"cancelled"} == set(desk.steps(run_id).values())
    assert "cancel" == desk.plane.heartbeat(running)
    assert "finished" == desk.register.cancel(run_id)
    assert "enough" == desk.register.status(run_id).error_summary


def test_fresh_data_of_all_named_instances_starts_a_pipeline_once(desk):
    desk.apply(step("a"), trigger={"fresh": ["github-a", "github-other"]})
    desk.make_instance("github-other")

    def succeed(instance):
        desk.plane.enqueue(instance)
        desk.work()
        desk.register.advance()
        return desk.register.all()[0].last_run_id

    assert None is succeed("github-a")
    run_id = succeed("github-other")
    assert "fresh" == desk.register.status(run_id).triggered_by
    # The run of its own step makes github-a fresh, but must not count.
    desk.drive(run_id)
    assert run_id == succeed("github-other")
    assert run_id != succeed("github-a")


def test_a_paused_pipeline_starts_by_hand_only(desk):
    desk.apply(step("a"), trigger={"fresh": ["github-a"]})
    desk.register.set_status("p", "paused")
    desk.plane.enqueue("github-a")
    desk.work()
    desk.register.advance()

    assert None is desk.register.all()[0].last_run_id
    assert "running" == desk.register.status(desk.register.run("p")).status


def test_a_scheduled_pipeline_is_started_for_its_due_time_once(desk, connection):
    desk.apply(step("a"), trigger={"schedule": "* * * * *", "timezone": "Asia/Manila"})
    connection.execute("insert into connectors.schedules (subject) values ('pipeline:p')")
    decide = (
        "select run_id from connectors.decide_schedule('pipeline:p', 'x', %s, now(),"
        " array[date_trunc('minute', now())])"
    )
    (found,) = connection.execute(
        "select expression, timezone from connectors.schedule_list()"
    ).fetchall()
    ((run_id,),) = connection.execute(decide, [None]).fetchall()

    assert ("* * * * *", "Asia/Manila") == found
    assert "schedule" == desk.register.status(run_id).triggered_by
    connection.execute("update connectors.schedules set decided_until = null")
    assert [(run_id,)] == connection.execute(decide, [None]).fetchall()


def test_a_pipeline_that_goes_on_after_a_pause_makes_nothing_good(desk, connection):
    desk.apply(step("a"), trigger={"schedule": "* * * * *"})
    connection.execute(
        "insert into connectors.schedules (subject, decided_until)"
        " values ('pipeline:p', now() - interval '1 hour')"
    )
    for status in ("paused", "active"):
        connection.execute("select connectors.set_pipeline_status('p', %s)", [status])

    left = "select decided_until < now() - interval '1 minute' from connectors.schedules"
    assert (False,) == connection.execute(left).fetchone()


def test_a_pipeline_that_still_runs_is_not_started_again_by_its_schedule(desk, connection):
    desk.apply(step("a"), trigger={"schedule": "* * * * *"})
    desk.register.run("p")
    connection.execute(
        "select * from connectors.decide_schedule('pipeline:p', 'x', null, now(),"
        " array[date_trunc('minute', now())])"
    )
    problem = connection.execute("select problem from connectors.schedules").fetchone()[0]

    assert "is running" in problem


def test_a_start_in_the_future_waits_for_its_time(desk, connection):
    desk.apply(step("a"))
    ((run_id,),) = connection.execute(
        "select connectors.run_pipeline('p', run_after => now() + interval '1 hour')"
    ).fetchall()
    desk.register.advance()
    assert {"a": "waiting"} == desk.steps(run_id)
    connection.execute("update connectors.pipeline_runs set run_after = now()")
    desk.register.advance()
    assert {"a": "running"} == desk.steps(run_id)


def test_many_that_advance_at_once_start_each_step_once(desk, database):
    desk.apply(step("a"), *[step(f"b{number}", after=["a"]) for number in range(6)])
    run_id = desk.register.run("p")
    desk.work()
    barrier = threading.Barrier(6)

    def one():
        with psycopg.connect(database, autocommit=True) as connection:
            barrier.wait()
            PipelineRegister(connection).advance()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.register.advance()

    assert 7 == len(desk.plane.runs(50))
    assert [[f"github-b{number}" for number in range(6)]] == desk.drive(run_id)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "1 to 100 steps"),
        ([step("A")], "has no valid name"),
        ([step("a"), step("a")], "is there twice"),
        ([{"name": "a"}], "exactly one of"),
        ([step("a", select=[], instance="github-a")], "exactly one of"),
        ([step("a", on_failure="ignore")], "unknown on_failure"),
        ([step("a", select=["--full-refresh"])], "dbt would not take"),
        ([step("a", after=["b"])], "after a step that does not exist"),
        ([step("a", after=["b"]), step("b", after=["a"])], "in a circle: a, b"),
        ([{"name": "a", "instance": "nobody"}], "'nobody', which does not exist"),
    ],
)
def test_sql_refuses_what_the_file_check_would_refuse(desk, steps, words):
    desk.make_instance("github-a")
    desk.make_instance("github-b")
    with pytest.raises(RefusedError, match=words):
        desk.register.apply(PipelineFile("p", "x", {"steps": steps}))
    with pytest.raises(RefusedError, match="Pipeline name"):
        desk.register.apply(PipelineFile("P_p", "x", {"steps": [step("a")]}))


@pytest.mark.parametrize("trigger", ["nightly", {"fresh": "github-a"}, {"schedule": ["* * * * *"]}])
def test_sql_refuses_an_odd_trigger(desk, trigger):
    with pytest.raises(RefusedError, match="The trigger"):
        desk.apply(step("a"), trigger=trigger)


def test_a_pipeline_that_broke_fails_and_stops_no_other(desk, connection):
    desk.apply(step("a"), step("c", after=["a"]), name="broken")
    desk.apply(step("b"), name="good")
    broken, good = desk.register.run("broken"), desk.register.run("good")
    connection.execute(
        "update connectors.pipeline_runs set spec = '{\"steps\": 5}' where pipeline = 'broken'"
    )
    desk.work()
    ended = {one.pipeline: one.status for one in desk.register.advance()}

    assert {"broken": "failed", "good": "succeeded"} == ended
    assert "cannot go on" in desk.register.status(broken).error_summary
    assert "succeeded" == desk.register.status(good).status


def test_unknown_names_are_told(desk):
    from uuid import uuid4

    for call in (
        lambda: desk.register.run("nobody"),
        lambda: desk.register.set_status("nobody", "paused"),
        lambda: desk.register.cancel(uuid4()),
        lambda: desk.register.status(uuid4()),
    ):
        with pytest.raises(NotFoundError, match="does not exist"):
            call()
    desk.apply(step("a"))
    with pytest.raises(RefusedError, match="Status 'gone' is unknown"):
        desk.register.set_status("p", "gone")


def test_an_agent_runs_a_pipeline_and_sees_how_it_goes(desk, connection):
    desk.apply(step("a"))
    with connection.transaction():
        connection.execute("set local role ipai_agent")
        run_id = connection.execute("select connectors.run_pipeline('p')").fetchone()[0]
        (found,) = connection.execute(
            "select status, triggered_by, started_at from connectors.pipeline_status(%s)", [run_id]
        ).fetchall()

    assert ("running", "rpc", UTC) == (*found[:2], found[2].astimezone(UTC).tzinfo)
    assert isinstance(desk.plane, ControlPlane)


def test_a_retry_does_what_has_not_succeeded_and_what_comes_after_it(desk):
    steps = [step("a"), step("b"), step("c", after=["b"]), step("d", after=["a"])]
    last = step("e", after=["c", "d"])
    desk.apply(*steps, last)
    first = desk.register.run("p")
    with pytest.raises(ConflictError, match="is running"):
        desk.register.retry(first)
    desk.drive(first, b="configuration")
    assert ["succeeded", "failed"] == [desk.steps(first)[name] for name in "ab"]
    desk.apply(*steps[:3], step("d", after=["a"], mode="full_table"), last)
    second = desk.register.retry(first)

    assert "fresh" == desk.steps(second)["a"]
    assert [["github-b", "github-d"], ["github-c"], ["github-e"]] == desk.drive(second)
    found = desk.register.status(second)
    assert ("succeeded", "retry") == (found.status, found.triggered_by)
    assert f"succeeded in run {first}" == found.steps[0]["reason"]
    with pytest.raises(ConflictError, match="has succeeded"):
        desk.register.retry(second)
    with pytest.raises(NotFoundError):
        desk.register.retry(desk.plane.runs(1)[0].id)
