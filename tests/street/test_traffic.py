"""Trips over the camera graph: plausible times, nobody through anybody, every camera reachable."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")
from reidentify.street import Street
from reidentify.street.sites import LANE, Route
from reidentify.street.traffic import camera_graph


def test_a_straight_route_by_hand() -> None:
    route = Route.through([(0, 0), (0, 10)])
    assert route.length == pytest.approx(10)
    # Facing +y, the right is +x; beyond its ends the way goes straight on.
    assert route.place(4.0, 0.5) == pytest.approx((0.5, 4.0, 0.0), abs=1e-6)
    assert route.place(-2.0, 0.0) == pytest.approx((0.0, -2.0, 0.0), abs=1e-6)
    x, y, heading = route.reversed().place(4.0, 0.5)
    assert (x, y, abs(heading)) == pytest.approx((-0.5, 6.0, np.pi), abs=1e-6)


def test_graph_is_connected_and_symmetric() -> None:
    for count in (2, 5, 6, 13):
        graph = camera_graph(1, count)
        reach, near = {0}, [0]
        while near:
            for n in graph.neighbours(near.pop()):
                if int(n) not in reach:
                    reach.add(int(n))
                    near.append(int(n))
        assert reach == set(range(count))
        assert (graph.lengths == graph.lengths.T).all()
        known = np.isfinite(graph.lengths)
        straight = np.linalg.norm(graph.places[:, None] - graph.places[None], axis=-1)
        assert (graph.lengths[known] >= straight[known]).all()


def test_travel_takes_the_time_that_walking_takes(street: Street) -> None:
    onward = 0
    for a, b in zip(street.visits, street.visits[1:]):
        if a.pid != b.pid:
            continue
        apart = np.linalg.norm(street.graph.places[a.node] - street.graph.places[b.node])
        inside = 0.5 * (a.route.length + b.route.length)  # the cameras' places are themselves some metres wide
        assert b.start - a.end >= (apart - inside) / 1.9
        if np.isfinite(street.graph.lengths[a.node, b.node]):
            onward += 1
            assert b.start > a.end
            # The way between two cameras, less the stretch of it inside the first one's picture.
            metres = max(street.graph.lengths[a.node, b.node] - 0.5 * a.route.length, 8.0)
            assert b.start - a.end >= metres / a.speed - 1e-6
    assert onward > 30
    assert max(v.end for v in street.visits) <= street.duration
    assert min(v.start for v in street.visits) >= 0


def test_nobody_walks_through_anybody(street: Street) -> None:
    met = 0
    for node in range(len(street.sites)):
        here = [v for v in street.visits if v.node == node]
        for k, a in enumerate(here):
            for b in here[k + 1 :]:
                times = np.arange(max(a.start, b.start), min(a.end, b.end), 0.1)
                if len(times):
                    met += 1
                    assert np.linalg.norm(a.positions(times) - b.positions(times), axis=1).min() > 0.5
    assert met > 20


def test_positions_follow_progress(street: Street) -> None:
    visit = next(v for v in street.visits if v.pause > 0)
    times = np.linspace(visit.start, visit.end, 60)
    single = [visit.route.place(visit.progress(t)[0], visit.lane)[:2] for t in times]
    assert visit.positions(times) == pytest.approx(np.array(single), abs=1e-9)
    halfway = visit.start + visit.stop / visit.speed + visit.pause / 2
    assert visit.progress(halfway) == (visit.stop, 1.0)
    assert visit.progress(visit.end)[0] == pytest.approx(visit.route.length)


def test_things_stand_clear_of_the_ways(street: Street) -> None:
    for place in street.sites:
        mesh = place.mesh
        low = mesh.vertices[(mesh.vertices[:, 2] > 0.03) & (mesh.vertices[:, 2] < 1.9)][:, :2]
        for route in place.routes:
            inside = route.points[(route.arc > 0) & (route.arc < route.length)]
            gap = np.linalg.norm(low[:, None] - inside[None, ::3], axis=-1).min() if len(low) else 9.0
            assert gap > LANE - 0.2, place.kind
