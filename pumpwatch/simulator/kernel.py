"""One station from one moment to the next: water, pumps and panel, in plain arithmetic.

Every function works on the state ``s`` of one station, indexed by the names below, and is written so
that CPython (on lists) and numba (on arrays) give the same bits: additions, multiplications, divisions,
square roots and comparisons in one order, and no chance but what is handed in (`fast` compiles it).

Times are seconds since 1970, levels metres above the well's bottom, volumes m3, flows m3/s, currents A.
"""

from __future__ import annotations

import math
from typing import Any

Numbers = list[float]
"""As CPython has them; numba is given rows of arrays."""

MAX_PUMPS = 4
NEVER = 1e18
EPS_M = 1e-9
EPS_M3 = 1e-9
EPS_S = 1e-6
MAX_SWITCHES = 60
"""Switching moments one station may have within one step before the rest of it is let go."""
START_FAILS_S = 6.0
"""A motor that does not come up is dropped by its overload relay after this long."""
RETRY_S = 300.0
"""A panel calls a pump that did not answer again after this long, or when the well is empty."""
TIMER_MARGIN_M = 0.10
"""A timer run needs this much water above the stop level."""
INRUSH_S = 0.6
INRUSH = 4.0
"""Current above the running one at the moment of a direct start, dying away in `INRUSH_S`."""
CHATTER_S = 0.7
IDLE_SHARE, FLOW_SHARE = 0.55, 0.45
"""Motor current at no flow, and what the nameplate flow adds, as shares of the running current."""
SNORE_SHARE = 0.8

# fmt: off
(
    # water: volume, level, what the transmitter shows; the piece of the level-volume table it is on
    V, H, SEEN, VB, HB, IA, VL, VH,
    # outflow line over level, backflow through leaking valves, what is missing from the main
    FLOW0, SLOPE, DRAIN, EMPTY, MAIN, SQRT_LIFT,
    # where something happens next
    VUP, VLO, TNEXT,
    # sums since the start
    IN, OUT, BACK, DELIVERED, SPILLED,
    # the sewer to the next station: water under way, share arriving per step, flow arriving, share lost
    ROUTE, ROUTE_SHARE, ROUTED, LOST,
    # the transmitter: gain, offset, share of a change it follows in one step
    GAIN, OFFSET, FOLLOW,
    # levels and their volumes
    STOP, START1, START2, START3, START4, HIGH, RELEASE,
    V_STOP, V_START1, V_START2, V_START3, V_START4, V_HIGH, V_RELEASE, V_COVER, V_SNORE,
    LOW_M, SPAN_M,
    # settings of the panel
    PUMPS, BY_FLOAT, ALTERNATION, ALTERNATE_S, HAND_OVER_S, LONG_RUN_S, TIMER_S, START_GAP_S,
    STAGGER_S, BACKUP_S, POWER_WAIT_S, SPIN_UP_S, COAST_S,
    # what holds for the station
    POWER, PHASES, AUTO, FIXED_DUTY, FLOAT_STUCK, HANG_M, SPREAD, NOMINAL,
    # what the panel remembers
    WANT, DUTY, FLOAT, BACKUP_UNTIL, LAST_START, LAST_RUN, READY, HANG_NOW, NORMALS, UNIFORMS,
    # the contacts as `bits_of` gives them, as good as they are until the next switch
    BITS,
    N_STATION,
) = range(80)
# fmt: on

# fmt: off
(
    CALL, ON, FLOWS, T_CALL, T_ON, GRIP, LOAD, A0, A1, DRY, GIVEN_UP, T_TRIP, FAILS, FAULT_UNTIL,
    OVER_UNTIL, CHATS, T_CHAT, STARTS, HOURS,
    RATED, AVAILABLE, FORCED, WELDED, NO_FLOW, AIR_P, FAIL_P, TRIP_P, TRIP_S, RESET_S, CHAT_P,
    OVER_P, OVER_S, CURRENT, SCATTER, LEAK,
    N_PUMP,
) = (N_STATION + MAX_PUMPS * k for k in range(36))
# fmt: on
N_STATE = N_PUMP
"""How many numbers describe a station. Those of pump ``p`` stand at ``NAME + p``."""

FLOAT_EDGE, POWER_EDGE, FAULT_EDGE = 4, 5, 8
"""Kinds of edges; 0 to 3 are the runs of the pumps, 8 to 11 their faults."""

EDGE_MS, EDGE_STATION, EDGE_KIND, EDGE_VALUE = range(4)


def volume_at(gh: Numbers, gv: Numbers, level: float) -> float:
    """Volume at a level by the table of heights ``gh`` and volumes ``gv``, straight between."""
    k = 1
    while k < len(gh) - 1 and level > gh[k]:
        k += 1
    return gv[k - 1] + (level - gh[k - 1]) * ((gv[k] - gv[k - 1]) / (gh[k] - gh[k - 1]))


def locate(s: Numbers, gh: Numbers, gv: Numbers) -> None:
    """Find the piece of the table the volume is on, and the level."""
    v = s[V]
    if v > s[VH] or v < s[VL]:
        k = 1
        while k < len(gv) - 1 and v > gv[k]:
            k += 1
        s[VB] = gv[k - 1]
        s[HB] = gh[k - 1]
        s[IA] = (gh[k] - gh[k - 1]) / (gv[k] - gv[k - 1])
        s[VL] = gv[k - 1] if k > 1 else -NEVER
        s[VH] = gv[k] if k < len(gv) - 1 else NEVER
    s[H] = s[HB] + (v - s[VB]) * s[IA]
    if s[FOLLOW] == 1.0:
        s[SEEN] = s[GAIN] * s[H] + s[OFFSET]


def put_edge(
    edges: list[list[int]], count: list[int], i: int, t: float, kind: int, value: float
) -> None:
    """Note a change of a contact; beyond the room there is, only counted."""
    n = count[0]
    if n < len(edges):
        edges[n][EDGE_MS] = math.floor(t * 1000.0 + 0.5)
        edges[n][EDGE_STATION] = i
        edges[n][EDGE_KIND] = kind
        edges[n][EDGE_VALUE] = int(value)
    count[0] = n + 1


def normal(s: Numbers, normals: Numbers) -> float:
    """The next of the station's own normal draws, within three deviations."""
    k = int(s[NORMALS])
    s[NORMALS] = float((k + 1) % len(normals))
    return normals[k]


def uniform(s: Numbers, uniforms: Numbers) -> float:
    k = int(s[UNIFORMS])
    s[UNIFORMS] = float((k + 1) % len(uniforms))
    return uniforms[k]


def begin_run(s: Numbers, p: int, t: float, normals: Numbers, uniforms: Numbers) -> None:
    """How this run differs from the last: rags shift, the supply wanders, some do not come up."""
    spread = s[SPREAD] + s[SCATTER + p]
    s[GRIP + p] = max(1.0 + spread * normal(s, normals), 0.05)
    s[LOAD + p] = max(1.0 + spread * normal(s, normals), 0.05)
    air, fails, trips, how_long, chats = (
        uniform(s, uniforms),
        uniform(s, uniforms),
        uniform(s, uniforms),
        uniform(s, uniforms),
        uniform(s, uniforms),
    )
    s[ON + p] = 1.0
    s[T_ON + p] = t
    s[LAST_START] = t
    s[STARTS + p] += 1.0
    s[FLOWS + p] = 0.0
    s[FAILS + p] = 1.0 if fails < s[FAIL_P + p] else 0.0
    s[DRY + p] = 1.0 if s[NO_FLOW + p] > 0.0 or s[FAILS + p] > 0.0 or air < s[AIR_P + p] else 0.0
    s[T_TRIP + p] = NEVER
    if s[FAILS + p] > 0.0:
        s[T_TRIP + p] = t + START_FAILS_S
    elif trips < s[TRIP_P + p]:
        s[T_TRIP + p] = t + s[TRIP_S + p] * (0.4 + 0.6 * how_long)
    if chats < s[CHAT_P + p]:
        s[CHATS + p] = 6.0
        s[T_CHAT + p] = t + CHATTER_S


def end_run(s: Numbers, p: int, t: float) -> None:
    """The motor is off: the column in the main coasts on a little, unless another pump drives it."""
    s[ON + p] = 0.0
    s[HOURS + p] += (t - s[T_ON + p]) / 3600.0
    flowed = s[FLOWS + p] > 0.0
    s[FLOWS + p] = 0.0
    s[LAST_RUN] = t
    for q in range(int(s[PUMPS])):
        if s[FLOWS + q] > 0.0:
            flowed = False
    if flowed:
        volume = max(s[SLOPE] * s[H] + s[FLOW0], 0.0) * s[COAST_S] * 0.5
        if s[V] - volume > s[V_SNORE]:
            s[V] -= volume
            leaves(s, 0.0, volume, 0.0)


def leaves(s: Numbers, into: float, out: float, back: float) -> None:
    """Book volumes: into the well, out by the pumps, back from the main."""
    empty = s[EMPTY] + back - out
    s[IN] += into
    s[OUT] += out
    s[BACK] += back
    if empty < 0.0:
        s[DELIVERED] -= empty
        s[ROUTE] -= empty * (1.0 - s[LOST])
        empty = 0.0
    s[EMPTY] = empty


def duty_now(s: Numbers, t: float) -> int:
    """The pump whose turn it is."""
    if s[FIXED_DUTY] >= 0.0:
        return int(s[FIXED_DUTY])
    if s[ALTERNATION] == 2.0:
        return int(t // s[ALTERNATE_S]) % int(s[PUMPS])
    return int(s[DUTY])


def next_pump(s: Numbers, t: float) -> int:
    """The pump to call, in turn from the duty pump on; -1 if none may start now."""
    pumps = int(s[PUMPS])
    first = duty_now(s, t)
    for k in range(pumps):
        p = (first + k) % pumps
        if (
            s[CALL + p] == 0.0
            and s[GIVEN_UP + p] <= t + EPS_S
            and s[FAULT_UNTIL + p] <= t + EPS_S
            and s[T_ON + p] + s[START_GAP_S] <= t + EPS_S
        ):
            return p
    return -1


def call_pump(s: Numbers, p: int, t: float, first: bool) -> None:
    """Call a pump; the duty passes on with the first call after a stop."""
    s[CALL + p] = 1.0
    s[T_CALL + p] = t
    s[LAST_START] = t
    if first and s[ALTERNATION] == 1.0:
        s[DUTY] = float((p + 1) % int(s[PUMPS]))


def wanted(s: Numbers, t: float) -> float:
    """How many pumps the level, the float and the timer ask for; a call lasts to the stop level."""
    want = s[WANT]
    level = s[H] if s[BY_FLOAT] > 0.0 else s[SEEN]
    if level <= s[STOP] + EPS_M:
        want = 0.0
    else:
        for k in range(int(s[PUMPS])):
            if level >= s[START1 + k] + s[HANG_NOW] - EPS_M and want < k + 1:
                want = float(k + 1)
        if (
            want == 0.0
            and s[TIMER_S] > 0.0
            and t - s[LAST_RUN] >= s[TIMER_S] - EPS_S
            and level > s[STOP] + TIMER_MARGIN_M
        ):
            want = 1.0
    if s[FLOAT] > 0.0 or t < s[BACKUP_UNTIL] - EPS_S:
        want = s[PUMPS]
    if s[POWER] == 0.0 or s[AUTO] == 0.0 or t < s[READY] - EPS_S:
        want = 0.0
    return want


def hang_anew(s: Numbers, gh: Numbers, gv: Numbers, uniforms: Numbers) -> None:
    """A float that hangs lets go at another height each time."""
    u = uniform(s, uniforms)
    s[HANG_NOW] = s[HANG_M] * u
    for k in range(int(s[PUMPS])):
        level = s[START1 + k]
        if s[BY_FLOAT] > 0.0:
            s[V_START1 + k] = volume_at(gh, gv, level + s[HANG_NOW])


def decide(s: Numbers, t: float, gh: Numbers, gv: Numbers, uniforms: Numbers) -> None:
    """Which pumps are called."""
    pumps = int(s[PUMPS])
    before = s[WANT]
    want = wanted(s, t)
    s[WANT] = want
    if want == 0.0:
        for p in range(pumps):
            if s[CALL + p] > 0.0 and s[ON + p] > 0.0:
                u, how_long = uniform(s, uniforms), uniform(s, uniforms)
                if u < s[OVER_P + p]:
                    s[OVER_UNTIL + p] = t + s[OVER_S + p] * (0.3 + 0.7 * how_long)
            s[CALL + p] = 0.0
            s[GIVEN_UP + p] = 0.0
        if before > 0.0:
            s[LAST_RUN] = t
            if s[HANG_M] > 0.0 or s[HANG_NOW] > 0.0:
                hang_anew(s, gh, gv, uniforms)
        return
    called = 0.0
    for p in range(pumps):
        if s[CALL + p] > 0.0:
            late = s[ON + p] == 0.0 and t - s[T_CALL + p] >= s[HAND_OVER_S] - EPS_S
            if late or s[FAULT_UNTIL + p] > t + EPS_S:
                s[CALL + p] = 0.0
                s[GIVEN_UP + p] = t + RETRY_S
            else:
                called += 1.0
    if want == 1.0 and called == 1.0:
        for p in range(pumps):
            long = s[ON + p] > 0.0 and t - s[T_ON + p] >= s[LONG_RUN_S] - EPS_S
            if s[CALL + p] > 0.0 and long:
                other = next_pump(s, t)
                if other >= 0:
                    s[CALL + p] = 0.0
                    call_pump(s, other, t, True)
                    return
    while called < want and t - s[LAST_START] >= s[STAGGER_S] - EPS_S:
        p = next_pump(s, t)
        if p < 0:
            return
        call_pump(s, p, t, called == 0.0)
        called += 1.0
        if s[STAGGER_S] > 0.0:
            return


def should_run(s: Numbers, p: int, t: float) -> bool:
    """Whether the contactor of a pump is in."""
    if s[POWER] == 0.0 or s[PHASES] == 0.0:
        return False
    if s[FORCED + p] == 1.0:
        return True
    if s[FAULT_UNTIL + p] > t + EPS_S or s[AVAILABLE + p] == 0.0:
        return False
    if s[ON + p] > 0.0 and (s[WELDED + p] > 0.0 or t < s[OVER_UNTIL + p] - EPS_S):
        return True
    if s[AUTO] == 0.0 or s[FORCED + p] == 0.0 or s[GIVEN_UP + p] > t + EPS_S:
        return False
    if s[CHATS + p] > 0.0 and int(s[CHATS + p]) % 2 == 1:
        return False
    return s[CALL + p] > 0.0


def respond(
    s: Numbers, t: float, i: int, gh: Numbers, gv: Numbers, net: list[Numbers], flow: list[list[Numbers]],
    normals: Numbers, uniforms: Numbers, edges: list[list[int]], count: list[int],
) -> None:  # fmt: skip
    """Let float, panel and relays act on what is, and work out what happens next."""
    pumps = int(s[PUMPS])
    up = s[FLOAT]
    if s[FLOAT_STUCK] >= 0.0:
        up = s[FLOAT_STUCK]
    elif s[H] >= s[HIGH] - EPS_M:
        up = 1.0
    elif s[H] <= s[RELEASE] + EPS_M:
        up = 0.0
    if up != s[FLOAT]:
        s[FLOAT] = up
        put_edge(edges, count, i, t, FLOAT_EDGE, up)
        if up == 0.0:
            s[BACKUP_UNTIL] = t + s[BACKUP_S]
    for p in range(pumps):
        if s[ON + p] > 0.0 and t >= s[T_TRIP + p] - EPS_S:
            s[T_TRIP + p] = NEVER
            if s[FAILS + p] > 0.0:
                s[GIVEN_UP + p] = t + RETRY_S
            else:
                s[FAULT_UNTIL + p] = t + s[RESET_S + p]
                put_edge(edges, count, i, t, FAULT_EDGE + p, 1.0)
        if 0.0 < s[FAULT_UNTIL + p] <= t + EPS_S:
            s[FAULT_UNTIL + p] = 0.0
            put_edge(edges, count, i, t, FAULT_EDGE + p, 0.0)
        if s[CHATS + p] > 0.0 and t >= s[T_CHAT + p] - EPS_S:
            s[CHATS + p] -= 1.0
            s[T_CHAT + p] = t + CHATTER_S
    decide(s, t, gh, gv, uniforms)
    for p in range(pumps):
        runs = should_run(s, p, t)
        if runs and s[ON + p] == 0.0:
            if s[CHATS + p] > 0.0:
                s[ON + p] = 1.0
                s[T_ON + p] = t
            else:
                begin_run(s, p, t, normals, uniforms)
            put_edge(edges, count, i, t, p, 1.0)
        elif not runs and s[ON + p] > 0.0:
            end_run(s, p, t)
            put_edge(edges, count, i, t, p, 0.0)
        if runs and s[DRY + p] == 0.0 and t - s[T_ON + p] >= s[SPIN_UP_S] - EPS_S:
            s[FLOWS + p] = 1.0
        if not runs and s[CALL + p] == 0.0:
            s[CHATS + p] = 0.0
    locate(s, gh, gv)
    settle(s, net, flow)
    bound(s, t)


def settle(s: Numbers, net: list[Numbers], flow: list[list[Numbers]]) -> None:
    """Outflow and currents as lines over the level, for the pumps that run now.

    ``net`` (states, 2) and ``flow`` (states, pumps, 2) are the flows at the two ends of the band.
    """
    pumps = int(s[PUMPS])
    state = -1
    grip = 1.0
    leak = 0.0
    bit = 1
    for p in range(pumps):
        if s[FLOWS + p] > 0.0:
            state += bit
            grip *= s[GRIP + p]
        leak += s[LEAK + p]
        bit *= 2
    if state < 0:
        s[FLOW0] = 0.0
        s[SLOPE] = 0.0
        s[DRAIN] = leak * s[SQRT_LIFT]
    else:
        low = net[state][0] * grip
        s[SLOPE] = (net[state][1] * grip - low) / s[SPAN_M]
        s[FLOW0] = low - s[SLOPE] * s[LOW_M]
        s[DRAIN] = 0.0
    for p in range(pumps):
        s[A0 + p] = 0.0
        s[A1 + p] = 0.0
        if s[ON + p] > 0.0:
            amps = s[RATED + p] * s[CURRENT + p] * s[LOAD + p]
            if s[FLOWS + p] > 0.0:
                low = amps * (IDLE_SHARE + FLOW_SHARE * flow[state][p][0] / s[NOMINAL])
                high = amps * (IDLE_SHARE + FLOW_SHARE * flow[state][p][1] / s[NOMINAL])
                s[A1 + p] = (high - low) / s[SPAN_M]
                s[A0 + p] = low - s[A1 + p] * s[LOW_M]
            else:
                s[A0 + p] = amps * IDLE_SHARE


def bound(s: Numbers, t: float) -> None:
    """The volumes and the moment at which `respond` has something to do again."""
    pumps = int(s[PUMPS])
    v = s[V]
    up = s[V_COVER]
    low = s[V_SNORE]
    if s[BY_FLOAT] > 0.0 or (s[FOLLOW] == 1.0 and s[GAIN] > 0.0):
        for k in range(pumps):
            if k >= s[WANT] and v + EPS_M3 < s[V_START1 + k] < up:
                up = s[V_START1 + k]
        if s[WANT] > 0.0 and low < s[V_STOP] < v - EPS_M3:
            low = s[V_STOP]
    if s[FLOAT_STUCK] < 0.0:
        if s[FLOAT] == 0.0 and v + EPS_M3 < s[V_HIGH] < up:
            up = s[V_HIGH]
        if s[FLOAT] > 0.0 and low < s[V_RELEASE] < v - EPS_M3:
            low = s[V_RELEASE]
    s[VUP] = up
    s[VLO] = low
    s[TNEXT] = next_moment(s, t)


def sooner(best: float, moment: float, t: float) -> float:
    return moment if t + EPS_S < moment < best else best


def next_moment(s: Numbers, t: float) -> float:
    """When a timer of the panel or a pump runs out; at once where the transmitter lags."""
    if s[FOLLOW] < 1.0:
        return 0.0
    best = sooner(NEVER, s[READY], t)
    best = sooner(best, s[BACKUP_UNTIL], t)
    if s[WANT] == 0.0 and s[TIMER_S] > 0.0:
        best = sooner(best, s[LAST_RUN] + s[TIMER_S], t)
    called = 0.0
    for p in range(int(s[PUMPS])):
        called += s[CALL + p]
        best = sooner(best, s[FAULT_UNTIL + p], t)
        if s[CHATS + p] > 0.0:
            best = sooner(best, s[T_CHAT + p], t)
        if s[ON + p] > 0.0:
            best = sooner(best, s[T_TRIP + p], t)
            if s[FLOWS + p] == 0.0 and s[DRY + p] == 0.0:
                best = sooner(best, s[T_ON + p] + s[SPIN_UP_S], t)
            if s[WANT] == 1.0:
                best = sooner(best, s[T_ON + p] + s[LONG_RUN_S], t)
            if s[CALL + p] == 0.0:
                best = sooner(best, s[OVER_UNTIL + p], t)
        elif s[CALL + p] > 0.0:
            best = sooner(best, s[T_CALL + p] + s[HAND_OVER_S], t)
    if called < s[WANT]:
        best = sooner(best, s[LAST_START] + s[STAGGER_S], t)
        for p in range(int(s[PUMPS])):
            best = sooner(best, s[T_ON + p] + s[START_GAP_S], t)
            best = sooner(best, s[GIVEN_UP + p], t)
    return best


def advance(
    s: Numbers, q_in: float, begin: float, dt: float, i: int, gh: Numbers, gv: Numbers, net: list[Numbers], flow: list[list[Numbers]],
    normals: Numbers, uniforms: Numbers, edges: list[list[int]], count: list[int],
) -> None:  # fmt: skip
    """One step of one station, from switch to switch. Volumes change by exact steps of constant rate."""
    left = dt
    for k in range(MAX_SWITCHES + 1):
        out = max(s[SLOPE] * s[H] + s[FLOW0], 0.0)
        back = 0.0
        if s[DRAIN] > 0.0:
            back = s[DRAIN] * math.sqrt(max(1.0 - s[EMPTY] / s[MAIN], 0.0))
        rate = q_in - out + back
        spilled = 0.0
        if rate < 0.0 and s[V] <= s[V_SNORE] + EPS_M3:
            out = q_in + back
            rate = 0.0
        elif rate > 0.0 and s[V] >= s[V_COVER] - EPS_M3:
            spilled = rate
            rate = 0.0
        now = begin + (dt - left)
        span = left
        meets = 0
        if k < MAX_SWITCHES:
            if rate > 0.0 and (s[VUP] - s[V]) / rate <= span:
                span = max((s[VUP] - s[V]) / rate, 0.0)
                meets = 1
            elif rate < 0.0 and (s[VLO] - s[V]) / rate <= span:
                span = max((s[VLO] - s[V]) / rate, 0.0)
                meets = -1
            if s[TNEXT] > 0.0 and s[TNEXT] - now <= span:
                span = max(s[TNEXT] - now, 0.0)
                meets = 2
        leaves(s, q_in * span, out * span, back * span)
        s[SPILLED] += spilled * span
        if meets == 1:
            s[V] = s[VUP]
        elif meets == -1:
            s[V] = s[VLO]
        else:
            s[V] += rate * span
        left -= span
        locate(s, gh, gv)
        if meets == 0:
            break
        # a timer that is due is met at its own moment, whatever was lost in the differences
        at = s[TNEXT] if meets == 2 else begin + (dt - left)
        respond(s, at, i, gh, gv, net, flow, normals, uniforms, edges, count)
    if s[FOLLOW] < 1.0:
        s[SEEN] += (s[GAIN] * s[H] + s[OFFSET] - s[SEEN]) * s[FOLLOW]
        respond(s, begin + dt, i, gh, gv, net, flow, normals, uniforms, edges, count)


def route(s: Numbers, dt: float) -> None:
    """What arrives at the next station in the coming step: the sewer between is a linear reservoir."""
    arrives = s[ROUTE] * s[ROUTE_SHARE]
    s[ROUTE] -= arrives
    s[ROUTED] = arrives / dt


def current_now(s: Numbers, p: int, t: float) -> float:
    """Motor current at a moment, the inrush of a start included."""
    if s[ON + p] == 0.0:
        return 0.0
    amps = s[A0 + p] + s[A1 + p] * s[H]
    age = t - s[T_ON + p]
    if age < INRUSH_S:
        amps *= 1.0 + INRUSH * (1.0 - age / INRUSH_S)
    elif s[FLOWS + p] > 0.0 and s[V] <= s[V_SNORE] + EPS_M3:
        amps *= SNORE_SHARE
    return amps


def glide(
    s: Any, k: int, steps: int, begin: float, dt: float, inflow: Any, lead: int, per_minute: int,
    above: Any, below: Any, beside: Any, linked: bool, gh: Any, gv: Any, amps: Any, level: Any,
    seen: Any, bits: Any, minutes: Any,
) -> int:  # fmt: skip
    """Take one station from step ``k`` to the next one in which something switches; gives that.

    What holds until then, and what runs on from step to step, is kept in variables of its own: in
    registers. It is `leaves`, `locate` and `route` again, in the same order of arithmetic.
    """
    slope, flow0, drain, main = s[SLOPE], s[FLOW0], s[DRAIN], s[MAIN]
    v_up, v_low, t_next = s[VUP], s[VLO], s[TNEXT]
    base_v, base_h, per_v, piece_low, piece_high = s[VB], s[HB], s[IA], s[VL], s[VH]
    exact, gain, offset = s[FOLLOW] == 1.0, s[GAIN], s[OFFSET]
    share, kept = s[ROUTE_SHARE], 1.0 - s[LOST]
    word, pumps = int(s[BITS]), int(s[PUMPS])
    v, h, shown, empty = s[V], s[H], s[SEEN], s[EMPTY]
    came, went, returned, delivered = s[IN], s[OUT], s[BACK], s[DELIVERED]
    under_way, arriving = s[ROUTE], s[ROUTED]
    minute = (lead + k) // per_minute
    full = (minute + 1) * per_minute - lead
    while k < steps:
        q_in = inflow[minute]
        if linked:
            q_in = q_in + above[k] + beside[k]
        out = max(slope * h + flow0, 0.0)
        back = 0.0
        if drain > 0.0:
            back = drain * math.sqrt(max(1.0 - empty / main, 0.0))
        moved = v + (q_in - out + back) * dt
        if moved >= v_up or moved <= v_low or t_next <= begin + k * dt + dt:
            break
        v = moved
        empty = empty + back * dt - out * dt
        came += q_in * dt
        went += out * dt
        returned += back * dt
        if empty < 0.0:
            delivered -= empty
            under_way -= empty * kept
            empty = 0.0
        if v > piece_high or v < piece_low:
            s[V] = v
            locate(s, gh, gv)
            base_v, base_h, per_v, piece_low, piece_high = s[VB], s[HB], s[IA], s[VL], s[VH]
        h = base_h + (v - base_v) * per_v
        if exact:
            shown = gain * h + offset
        if word & 15:
            for p in range(pumps):
                amps[p, k] = s[A0 + p] + s[A1 + p] * h
        if linked:
            arrives = under_way * share
            under_way -= arrives
            arriving = arrives / dt
            if share > 0.0:
                below[k + 1] = arriving
        level[k], seen[k], bits[k] = h, shown, word
        k += 1
        if k == full:
            minutes[0, minute], minutes[1, minute] = came, s[SPILLED]
            minute += 1
            full += per_minute
    s[V], s[H], s[SEEN], s[EMPTY] = v, h, shown, empty
    s[IN], s[OUT], s[BACK], s[DELIVERED] = came, went, returned, delivered
    s[ROUTE], s[ROUTED] = under_way, arriving
    return k


def run_block(
    state: Any, inflow: Any, lead: int, per_minute: int, first: int, steps: int, begin: float,
    dt: float, upstream: Any, order: Any, linked: bool, routed: Any, s: Any, gh: Any, gv: Any,
    net: Any, flow: Any, normals: Any, uniforms: Any, edges: Any, count: Any, level: Any, seen: Any,
    amps: Any, bits: Any, minutes: Any,
) -> None:  # fmt: skip
    """Step all stations through a block, one after the other: the twin of `stepping.step_numpy`.

    Shapes are those of `stepping.Tables`, `stepping.Span` and `stepping.Record`. A station comes
    after those that flow into it (``order``); ``routed`` (stations + 1, steps + 1), of zeros, takes
    what arrives from each at the next one in each step, and ``s`` (N_STATE,) the state of the one.
    """
    last = first + steps
    for i in order:
        for name in range(N_STATE):
            s[name] = state[name, i]
        above, beside, below = routed[upstream[0, i]], routed[upstream[1, i]], routed[i]
        if linked and s[ROUTE_SHARE] > 0.0:
            below[0] = s[ROUTED]
        its_level, its_seen, its_bits = (
            level[i, first:last],
            seen[i, first:last],
            bits[i, first:last],
        )
        its_amps, its_minutes, its_inflow = amps[:, i, first:last], minutes[:, i], inflow[i]
        k = 0
        while True:
            k = glide(
                s, k, steps, begin, dt, its_inflow, lead, per_minute, above, below, beside, linked,
                gh[i], gv[i], its_amps, its_level, its_seen, its_bits, its_minutes,
            )  # fmt: skip
            if k == steps:
                break
            minute = (lead + k) // per_minute
            q_in = its_inflow[minute]
            if linked:
                q_in = q_in + above[k] + beside[k]
            start = begin + k * dt
            advance(
                s, q_in, start, dt, i, gh[i], gv[i], net[i], flow[i], normals[i], uniforms[i],
                edges, count,
            )  # fmt: skip
            for p in range(int(s[PUMPS])):
                its_amps[p, k] = current_now(s, p, start + dt)
            s[BITS] = float(bits_of(s, start + dt))
            if linked:
                route(s, dt)
                if s[ROUTE_SHARE] > 0.0:
                    below[k + 1] = s[ROUTED]
            its_level[k], its_seen[k], its_bits[k] = s[H], s[SEEN], int(s[BITS])
            k += 1
            if (lead + k) % per_minute == 0:
                its_minutes[0, minute], its_minutes[1, minute] = s[IN], s[SPILLED]
        for name in range(N_STATE):
            state[name, i] = s[name]


def bits_of(s: Numbers, t: float) -> int:
    """The contacts as bits: 0 to 3 runs, 4 float, 5 power, 6 automatic, 8 to 11 pump faults."""
    word = 0
    for p in range(int(s[PUMPS])):
        if s[ON + p] > 0.0:
            word |= 1 << p
        if s[FAULT_UNTIL + p] > t:
            word |= 256 << p
    if s[FLOAT] > 0.0:
        word |= 16
    if s[POWER] > 0.0:
        word |= 32
    if s[AUTO] > 0.0:
        word |= 64
    return word


FUNCTIONS = (
    volume_at, locate, put_edge, normal, uniform, leaves, begin_run, end_run, duty_now, next_pump,
    call_pump, wanted, hang_anew, decide, should_run, settle, sooner, next_moment, bound, respond,
    advance, route, current_now, bits_of, glide, run_block,
)  # fmt: skip
"""In the order in which they call each other."""
