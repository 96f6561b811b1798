"""`/user` where several workers share an engine: whom a message reaches, wherever sessions are."""

from __future__ import annotations

import pytest

from stocksync_ws import ConnectRequest, StompApp, send_to_user
from tests.broker.cluster import Cluster
from tests.broker.kit import User

PATH = "/queue/news"
NAMES = [
    "ann",
    "a:b",
    f"3:ann{PATH}",
    f"ann{PATH}",
    "ann/queue",
    "ä ö\u2028",
    "a\nb",
    "*",
    "x" * 300,
]


def numbered(request: ConnectRequest) -> User:
    return User(NAMES[int(request.login or 0)])


def prepare(app: StompApp) -> None:
    @app.message_mapping("/all")
    @send_to_user(PATH, broadcast=True)
    async def everywhere(text: str) -> str:
        return text

    @app.message_mapping("/here")
    @send_to_user(PATH, broadcast=False)
    async def here(text: str) -> str:
        return text


@pytest.mark.parametrize("name", NAMES)
def test_the_template_reaches_all_sessions_of_a_user_and_no_other(name: str) -> None:
    with Cluster(authenticator=numbered) as cluster:
        wanted, others = [], []
        for worker in (0, 1):
            for number, other in enumerate(NAMES):
                peer = cluster.subscribe(cluster.connect(worker, str(number)), "/user" + PATH)
                (wanted if other == name else others).append(peer)
        cluster.apps[0].template.convert_and_send_to_user(name, PATH, "hello")
        assert [cluster.bodies(peer) for peer in wanted] == [[b"hello"], [b"hello"]]
        assert not any(cluster.bodies(peer) for peer in others)


def test_a_worker_without_a_session_of_the_user_may_send() -> None:
    with Cluster(3) as cluster:
        peer = cluster.subscribe(cluster.connect(2, "ann"), "/user" + PATH)
        template = cluster.apps[0].template
        published = cluster.worlds[0].run(template.publish_to_user("ann", PATH, "hello"))
        assert cluster.bodies(peer) == [b"hello"]
        assert (published.receivers, published.workers) == (0, 1)
        published = cluster.worlds[0].run(template.publish_to_user("bob", PATH, "hello"))
        assert (published.receivers, published.workers) == (0, 0)
        assert cluster.worlds[0].counters.messages_unrouted == 1


def test_a_handler_answers_all_sessions_of_its_user_or_its_own() -> None:
    with Cluster(prepare=prepare) as cluster:
        sender, same, elsewhere = (
            cluster.subscribe(cluster.connect(worker, "ann"), "/user" + PATH)
            for worker in (0, 0, 1)
        )
        sender.send_to("/app/all", "x")
        assert [cluster.bodies(peer) for peer in (sender, same, elsewhere)] == [[b"x"]] * 3
        sender.send_to("/app/here", "y")
        assert [cluster.bodies(peer) for peer in (sender, same, elsewhere)] == [[b"y"], [], []]


def test_an_anonymous_session_is_answered_alone_and_the_engine_hears_nothing() -> None:
    with Cluster(prepare=prepare) as cluster:
        peers = [cluster.subscribe(cluster.connect(each), "/user" + PATH) for each in (0, 0, 1)]
        peers[0].send_to("/app/all", "x")
        assert [cluster.bodies(peer) for peer in peers] == [[b"x"], [], []]
        assert not [name for name in cluster.engine.engine._channels if name.startswith("user")]


def test_one_session_is_reached_by_its_own_worker_alone() -> None:
    with Cluster() as cluster:
        peer = cluster.subscribe(cluster.connect(1, "ann"), "/user" + PATH)
        (session,) = cluster.apps[1].users.sessions()
        cluster.apps[0].template.convert_and_send_to_session(session.id, PATH, "no")
        assert cluster.bodies(peer) == []
        assert cluster.worlds[0].counters.messages_unrouted == 1
        cluster.apps[1].template.convert_and_send_to_session(session.id, PATH, "yes")
        assert cluster.bodies(peer) == [b"yes"]


def test_an_error_is_told_to_the_session_that_sent_while_the_engine_is_away_too() -> None:
    with Cluster() as cluster:
        sender, same, elsewhere = (
            cluster.subscribe(cluster.connect(worker, "ann"), "/user/queue/errors")
            for worker in (0, 0, 1)
        )
        for _ in range(2):
            sender.send_to("/app/nowhere", "x")
            assert sender.message().json()["code"] == "no-handler"
            assert [cluster.bodies(peer) for peer in (same, elsewhere)] == [[], []]
            cluster.engine.disconnect()


def test_what_is_sent_while_the_engine_is_away_arrives_when_it_is_back() -> None:
    with Cluster() as cluster:
        peer = cluster.subscribe(cluster.connect(1, "ann"), "/user" + PATH)
        cluster.engine.disconnect()
        cluster.apps[0].template.convert_and_send_to_user("ann", PATH, "late")
        cluster.advance(2)
        assert cluster.bodies(peer) == []
        cluster.engine.reconnect()
        assert cluster.bodies(peer) == [b"late"]
