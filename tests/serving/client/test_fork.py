"""A client that was open when the process forked: the child gets connections of its own, and nothing hangs.

Each case runs in a fresh interpreter, which forks: pytest's own process stays as it is.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAD = """
import asyncio, faulthandler, os, signal, sys, threading, traceback
from serving_client import Client, aio, errors, forking

target = sys.argv[1]


def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs dies by this, and has said where
        faulthandler.dump_traceback_later(15)
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def refused(call):
    try:
        call()
    except errors.ClientClosed as error:
        assert "forked while gRPC was in use" in str(error)
    else:
        raise AssertionError("was not refused")


def ended(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"the child ended with {code}"

"""

CASES = {
    "child and parent go on": """
        client = Client(target, model="cf")
        client.recommend(["a"])

        def work():
            assert client.recommend(["a"]).items[0] == "r0"
            client.close()

        children = [forked(work) for _ in range(3)]
        for _ in range(50):
            assert client.recommend(["a"]).items[0] == "r0"
        for child in children:
            ended(child)
        assert client.recommend(["a"]).attempts == 1
    """,
    "a lock is held at the fork": """
        client = Client(target, model="cf")
        client.recommend(["a"])
        held, let_go = threading.Event(), threading.Event()

        def hold():
            with client._lock:
                held.set()
                let_go.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        ended(forked(lambda: client.recommend(["a"])))
        let_go.set()
        holder.join()
    """,
    "calls are under way at the fork": """
        client = Client([target], model="cf")
        stop = threading.Event()

        def load():
            while not stop.is_set():
                client.recommend(["a"])

        threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]  # a failure must not wait for them
        for thread in threads:
            thread.start()
        def work():
            assert client.recommend(["a"]).items[0] == "r0"
            assert Client(target, model="cf").recommend(["a"]).items[0] == "r0"

        for _ in range(3):
            ended(forked(work))
        stop.set()
        for thread in threads:
            thread.join()
        client.close()
    """,
    "a call outlasts the wait": """
        forking.WAIT_S = 0.2
        client = Client(target, model="cf")
        client.recommend(["a"])
        inside, let_go = threading.Event(), threading.Event()

        class Held:
            def start(self, *_):
                inside.set()
                let_go.wait()
                return ()

            def attempt(self, *_): ...
            def call(self, *_): ...

        slow = Client(target, model="cf", observers=[Held()])
        caller = threading.Thread(target=lambda: slow.recommend(["a"]))
        caller.start()
        inside.wait()

        def work():
            refused(lambda: client.recommend(["a"]))
            refused(lambda: Client(target, model="cf").recommend(["a"]))

        ended(forked(work))
        assert client.recommend(["a"]).items[0] == "r0"
        let_go.set()
        caller.join()
    """,
    "the first message is being made at the fork": """
        from serving_client.protocol import messages

        inside, let_go = threading.Event(), threading.Event()
        made = messages._classes

        def slowly(file):
            inside.set()
            let_go.wait()
            return made(file)

        messages._classes = slowly
        first = threading.Thread(target=lambda: messages.PredictRequest)
        first.start()
        inside.wait()

        def work():
            messages._classes = made
            assert Client(target, model="cf").recommend(["a"]).items[0] == "r0"

        ended(forked(work))
        let_go.set()
        first.join()
    """,
    "a client calls while it forks": """
        client = Client(target, model="cf")

        class Other:
            def begins(self, wait_s):
                client.recommend(["a"])  # the client itself is held back by now

            def forked(self):
                return False

        other = Other()
        forking.watch(other.forked, other.begins)
        ended(forked(lambda: client.recommend(["a"])))
        assert client.recommend(["a"]).items[0] == "r0"
    """,
    "a fork's end goes untold": """
        client = Client(target, model="cf")
        client.recommend(["a"])
        teller = threading.Thread(target=client._fork_begins, args=[0.2])
        teller.start()
        teller.join()
        assert client.recommend(["a"]).items[0] == "r0"  # within a second
        assert not client._forking
    """,
    "a client that a fork holds back is closed": """
        client = Client(target, model="cf")
        client.recommend(["a"])
        begun, let_go, said = threading.Event(), threading.Event(), []

        def begin():
            client._fork_begins(30.0)
            begun.set()
            let_go.wait()  # a thread that ended would leave its identity to the next one

        teller = threading.Thread(target=begin, daemon=True)
        teller.start()
        begun.wait()

        def ask():
            try:
                client.recommend(["a"], timeout_s=60)
            except errors.ClientClosed as error:
                said.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert not said
        client.close()
        asking.join(10)
        let_go.set()
        assert len(said) == 1
    """,
    "a closed client stays closed": """
        client = Client(target, model="cf")
        client.recommend(["a"])
        client.close()

        def work():
            try:
                client.recommend(["a"])
            except errors.ClientClosed:
                return
            raise AssertionError

        ended(forked(work))
    """,
    "another client is made after a close": """
        for _ in range(3):
            client = Client(target, model="cf")
            client.recommend(["a"])
            client.close()
            ended(forked(lambda: Client(target, model="cf").recommend(["a"])))
    """,
    "an asynchronous client is open at the fork": """
        client = aio.Client(target, model="cf")

        async def ask(client):
            return (await client.recommend(["a"])).items[0]

        with asyncio.Runner() as runner:
            assert runner.run(ask(client)) == "r0"

            def work():
                refused(lambda: asyncio.run(ask(client)))
                refused(lambda: asyncio.run(ask(aio.Client(target, model="cf"))))
                refused(lambda: Client(target, model="cf").recommend(["a"]))

            ended(forked(work))
            assert runner.run(ask(client)) == "r0"
            runner.run(client.close())
    """,
    "an asynchronous client was closed before the fork": """
        async def ask():
            async with aio.Client(target, model="cf") as client:
                return (await client.recommend(["a"])).items[0]

        assert asyncio.run(ask()) == "r0"

        def work():
            assert asyncio.run(ask()) == "r0"

        ended(forked(work))
        assert asyncio.run(ask()) == "r0"
    """,
    "two loops one after the other": """
        client = aio.Client(target, model="cf")

        async def ask():
            return (await client.recommend(["a"])).items[0]

        assert asyncio.run(ask()) == "r0"
        assert asyncio.run(ask()) == "r0"
        asyncio.run(client.close())
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_a_client_outlives_a_fork(case, stub):
    code = HEAD + textwrap.dedent(CASES[case])
    done = subprocess.run([sys.executable, "-c", code, stub.target], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "skipping fork() handlers" not in line]  # gRPC's own remark
    assert said == []
