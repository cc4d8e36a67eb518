"""What every fault code means to a crew: in English, marked for translation.

One `Entry` per code of `pumpwatch.domain.faults`, the installation's own included. The alert page, the notices and the runbook are
all written from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pumpwatch.alerting.i18n import N_
from pumpwatch.domain.alerts import Severity
from pumpwatch.domain.faults import FAULT_GROUP, HUB_FAULTS, Group


@dataclass(frozen=True, slots=True)
class Entry:
    """``observed``: the panel or the level shows it directly, it is not only suspected."""

    title: str
    meaning: str
    do: tuple[str, ...]
    bring: tuple[str, ...]
    verify: str
    observed: bool = False


URGENCY: dict[Severity, str] = {
    Severity.CRITICAL: N_("Go now"),
    Severity.ALARM: N_("Within hours"),
    Severity.WARNING: N_("Next working days"),
    Severity.INFO: N_("For information"),
}

PRIORITY: dict[Severity, str] = {
    Severity.CRITICAL: "P1",
    Severity.ALARM: "P2",
    Severity.WARNING: "P3",
    Severity.INFO: "P4",
}
"""The same as towns write it in contracts and duty rosters."""

URGENCY_TEXT: dict[Severity, str] = {
    Severity.CRITICAL: N_("Go now, at any hour: sewage may overflow."),
    Severity.ALARM: N_("Go within hours; by day if the well has reserve."),
    Severity.WARNING: N_("Plan a visit within the next working days."),
    Severity.INFO: N_("For information; no visit is needed."),
}

GROUP_TITLE: dict[Group, str] = {
    Group.PUMP_HYDRAULIC: N_("Pump, hydraulic"),
    Group.PUMP_ELECTRICAL: N_("Pump, electrical"),
    Group.DISCHARGE: N_("Discharge pipework"),
    Group.SENSING: N_("Level measurement"),
    Group.CONTROL: N_("Control"),
    Group.INFLOW: N_("Inflow"),
    Group.SUPPLY: N_("Power and communications"),
    Group.STATE: N_("State of the station"),
}

HUB_GROUP_TITLE = N_("The installation itself")
HUB_URGENCY_TEXT = N_(
    "See to it within hours, at night too: until then a station may need help and nobody is told."
)

_LIFT = N_("Switch the pump off at the panel, lock it out, and make sure the other pump runs.")
_ENTRY = N_(
    "Do not enter the well before measuring: oxygen 18 % or more, hydrogen sulphide 10 ppm or less, "
    "and never alone."
)
_HAUL = N_("If both pumps are down, order a vacuum truck before the level reaches the inlet.")

_LIFTING_GEAR = N_("Lifting gear and chain")
_GAS_METER = N_("Gas detector (O₂, H₂S)")
_MEGGER = N_("Insulation tester")
_CLAMP = N_("Clamp meter")
_TOOLS = N_("Hand tools, gloves, wash water")
_TAPE = N_("Measuring tape or staff")
_SPARE_CONTACTOR = N_("Spare contactor and relay")
_GENERATOR = N_("Generator and connecting cable")
_KEYS = N_("Panel key and wiring diagram")
_PUMPING_UP = N_("Run the pump by hand once and see that the level falls at its usual rate.")

_ENTRIES: dict[str, Entry] = {
    # -- pump, hydraulic ---------------------------------------------------------------------------
    "pump_wear": Entry(
        N_("impeller wear"),
        N_(
            "The pump moves less water than its own reference and has lost it slowly: impeller and "
            "wear ring are worn."
        ),
        (
            N_("Compare the capacity curve of the last months with the date of the last overhaul."),
            N_("Plan an overhaul before the capacity falls to 80 % of the reference."),
            N_("When it is lifted, measure the impeller clearance and photograph the impeller."),
        ),
        (_LIFTING_GEAR, N_("Wear ring, impeller and gasket"), _MEGGER),
        N_("Enter the overhaul in the site log; the next cycles set a new reference."),
    ),
    "pump_ragging": Entry(
        N_("clogging with rags"),
        N_(
            "Wipes, cloth or string hang on the impeller: the pump moves less water, runs longer and "
            "will trip if it goes on."
        ),
        (
            _LIFT,
            _ENTRY,
            N_("Lift the pump, clear impeller and suction, photograph what was found."),
            N_("Measure the insulation before it goes back."),
        ),
        (_LIFTING_GEAR, _TOOLS, _MEGGER, _GAS_METER),
        N_("Enter the cleaning in the site log and see the capacity back at its reference."),
    ),
    "pump_blocked": Entry(
        N_("blocked pump"),
        N_("The pump runs but the level does not fall: impeller or suction is blocked or locked."),
        (
            N_("Make sure at once that the other pump runs and lowers the level."),
            _LIFT,
            N_("Do not keep resetting the overload: the motor burns out."),
            _ENTRY,
            N_("Lift the pump, remove the blockage, turn the impeller by hand."),
            _HAUL,
        ),
        (_LIFTING_GEAR, _TOOLS, _MEGGER, _GAS_METER, N_("Telephone number of the vacuum truck")),
        _PUMPING_UP,
    ),
    "air_lock": Entry(
        N_("air lock"),
        N_("The pump turns with air in its casing: it draws little current and moves no water."),
        (
            N_("Stop the pump, wait until the casing is covered, start it again."),
            N_("Clear the vent hole; bleed the riser if there is a valve for it."),
            N_("If it comes back, check whether the stop level is too low."),
        ),
        (_TOOLS, _CLAMP, _KEYS),
        N_("Run the pump by hand: level falls at its usual rate and the current is back to normal."),
    ),
    # -- pump, electrical --------------------------------------------------------------------------
    "start_failure": Entry(
        N_("pump does not start"),
        N_("The start level was passed but the pump that should have started did not."),
        (
            N_("Read the lamps and the overload relay at the panel before resetting anything."),
            N_("Start the pump by hand; see whether contactor, voltage and current come."),
            N_("Leave the other pump in automatic; do not leave with both off."),
            _HAUL,
        ),
        (_KEYS, _CLAMP, N_("Voltmeter"), _SPARE_CONTACTOR),
        N_("Let the well fill once and see the pump start by itself at the start level."),
    ),
    "motor_degradation": Entry(
        N_("motor or bearing degradation"),
        N_("The current has risen or become unsteady while the pump still moves its water."),
        (
            N_("Measure current of all three phases and the insulation, dry and after rain."),
            N_("Listen for bearing noise; check oil and seal."),
            N_("Plan to lift the pump; have the other one proved before."),
        ),
        (_CLAMP, _MEGGER, N_("Seal oil"), _LIFTING_GEAR),
        N_("After the repair the current is back at its earlier value over ten cycles."),
    ),
    "pump_out_of_service": Entry(
        N_("pump out of service"),
        N_(
            "This pump has not moved water for a long time: the station stands on one pump, which "
            "shows only in the next storm."
        ),
        (
            N_("Look at breaker, selector switch and gate valve: often left off after work."),
            N_("Run the pump by hand and watch the level."),
            N_("If it does not pump, repair it before rain is expected."),
        ),
        (_KEYS, _CLAMP, _MEGGER),
        _PUMPING_UP,
    ),
    "pump_trip": Entry(
        N_("pump tripped"),
        N_("The panel has switched this pump off: overload, earth leakage or thermal contact."),
        (
            N_("Read which contact has tripped and write it down before resetting."),
            N_("Measure insulation; below 1 MΩ do not start it again."),
            N_("Reset once only. If it trips again, lift the pump."),
            N_("Make sure that the other pump copes."),
        ),
        (_KEYS, _MEGGER, _CLAMP, _LIFTING_GEAR),
        N_("Three cycles without a trip at normal current."),
        observed=True,
    ),
    "seal_leak": Entry(
        N_("water in the seal chamber"),
        N_("The seal-water contact has closed: the shaft seal leaks and water nears the motor."),
        (
            N_("Measure the insulation; if it falls, take the pump out of service."),
            N_("Draw an oil sample: milky oil means water."),
            N_("Plan an overhaul with a new shaft seal."),
        ),
        (_MEGGER, N_("Seal oil"), _LIFTING_GEAR, N_("Shaft seal and gaskets")),
        N_("The contact is open again and the insulation is steady after a week."),
        observed=True,
    ),
    "phase_loss": Entry(
        N_("phase loss"),
        N_("One of the three phases is missing: motors do not start or burn out."),
        (
            N_("Keep both pumps off until the three voltages have been measured."),
            N_("Check main fuses and terminals; ask the supply company about the neighbourhood."),
            N_("Bring a generator if the supply is not back soon."),
        ),
        (N_("Voltmeter"), N_("Fuses"), _GENERATOR, _KEYS),
        N_("Three equal voltages and one cycle of each pump at normal current."),
    ),
    "contactor_fault": Entry(
        N_("contactor fault"),
        N_("Run contact and pump disagree: the contactor chatters, sticks or does not close."),
        (
            N_("Watch the contactor during a start by hand, without touching it: chatter, sparks, burnt smell."),
            N_("If the pump cannot be stopped, switch its breaker off: it runs dry."),
            N_("Replace the contactor; check the control voltage."),
        ),
        (_SPARE_CONTACTOR, N_("Voltmeter"), _CLAMP, _KEYS),
        N_("Ten starts without chatter; run contact and current agree."),
    ),
    # -- discharge ---------------------------------------------------------------------------------
    "check_valve_leak": Entry(
        N_("leaking check valve"),
        N_(
            "After a stop water flows back into the well through the check valve, so the pumps move "
            "it again and again."
        ),
        (
            N_("Close the gate valve of that pump: if the back-flow stops, it is this valve."),
            _ENTRY,
            N_("Open and clean the check valve; replace seat or flap."),
            N_("Until then the gate valve may stay closed and the station run on one pump."),
        ),
        (_TOOLS, N_("Valve key"), N_("Check valve flap, seat and gasket"), _GAS_METER),
        N_("Watch the level for two minutes after a stop: it rises no faster than before a start."),
    ),
    "discharge_blockage": Entry(
        N_("restricted rising main"),
        N_(
            "Both pumps move less water: grease, grit, air or a half-closed valve restricts the "
            "rising main."
        ),
        (
            N_("Check that all gate valves are fully open; look who was at the site last."),
            N_("Work the air valves along the main."),
            N_("Read the discharge pressure if there is a gauge; plan flushing or pigging."),
        ),
        (N_("Valve key"), N_("Pressure gauge"), N_("Plan of the rising main")),
        N_("Both pumps are back at their reference in the next cycles."),
    ),
    "coupling_leak": Entry(
        N_("leak at the coupling or riser"),
        N_("Part of the water falls back into the well at the coupling or through a hole in the riser."),
        (
            N_("Look down with a lamp while the pump runs: a jet or turbulence shows the leak."),
            _ENTRY,
            N_("Lift the pump and set it down again on clean faces."),
            N_("Replace the gasket; check the riser for corrosion."),
        ),
        (N_("Strong lamp"), _LIFTING_GEAR, N_("Coupling gasket"), _GAS_METER),
        N_("No jet while the pump runs, and its capacity is back at the reference."),
    ),
    "rising_main_burst": Entry(
        N_("burst rising main"),
        N_(
            "Both pumps suddenly meet less resistance: the rising main has probably broken and sewage "
            "escapes."
        ),
        (
            N_("Walk the line of the main now; look for wet or sunken ground."),
            N_("When found: stop the pumps, close off, order vacuum trucks for the inflow."),
            N_("Secure the road and inform the supervisor and the water authority."),
        ),
        (N_("Plan of the rising main"), N_("Barriers and lamps"), N_("Telephone number of the vacuum truck")),
        N_("Pressure and capacity of both pumps are back at their reference after the repair."),
    ),
    # -- sensing -----------------------------------------------------------------------------------
    "sensor_drift": Entry(
        N_("level transmitter drift"),
        N_(
            "The level reading no longer agrees with float, volume or itself: the pumps start and "
            "stop at wrong levels."
        ),
        (
            N_("Measure the true level by tape and compare it with the reading."),
            N_("Lift and clean the transmitter; check its vent tube and cable."),
            N_("Set zero and span again, or replace it."),
        ),
        (_TAPE, _TOOLS, N_("Spare level transmitter")),
        N_("Tape and reading agree within 20 mm at two levels."),
    ),
    "frozen_level": Entry(
        N_("frozen level reading"),
        N_("The level reading has stopped moving: the pumps may not start although the well fills."),
        (
            N_("Look into the well now: what is the true level?"),
            N_("Run a pump by hand if the level is high; leave the float backup in automatic."),
            N_("Lift and clean the transmitter; check cable and terminals; replace it."),
        ),
        (_TAPE, _KEYS, _TOOLS, N_("Spare level transmitter")),
        N_("The reading follows the level through one whole cycle."),
        observed=True,
    ),
    "sensor_failed": Entry(
        N_("level transmitter failed"),
        N_("The level signal is missing or impossible: the panel may not start the pumps at all."),
        (
            N_("Go and look into the well: nothing shows the true level from here."),
            N_("Run the pumps by hand or on the float backup until it is repaired."),
            N_("Measure the loop current: below 3.6 mA broken wire, above 21 mA short circuit."),
            N_("Replace the transmitter."),
        ),
        (_KEYS, N_("Voltmeter"), N_("Spare level transmitter"), _TAPE),
        N_("Tape and reading agree, and the pumps start and stop by themselves once."),
    ),
    # -- control -----------------------------------------------------------------------------------
    "float_hangup": Entry(
        N_("float stuck"),
        N_("The high-level float and the level disagree: the last line of defence cannot be trusted."),
        (
            N_("Clean the float and free its cable."),
            N_("Lift it with a hook: the high-level signal must come and go."),
        ),
        (N_("Hook"), _TOOLS),
        N_("The signal comes when the float is lifted and goes when it hangs."),
    ),
    "alternation_failure": Entry(
        N_("pumps no longer alternate"),
        N_("One pump makes nearly all starts: it wears alone while the other stands unproved."),
        (
            N_("Check selector switches and latched faults at the panel."),
            N_("Run the idle pump by hand before trusting it."),
            N_("Check the alternating relay or the controller setting."),
        ),
        (_KEYS, _SPARE_CONTACTOR, _CLAMP),
        N_("Both pumps start in turn over the next six cycles."),
        observed=True,
    ),
    "stuck_on": Entry(
        N_("pump does not stop"),
        N_("The pump runs on although it should have stopped: it runs dry or inflow is as large as it."),
        (
            N_("Look at the level: if it is low, stop the pump at its breaker."),
            N_("If the level stays high, check the other pump and the inflow."),
            N_("Check stop level, selector switch and contactor."),
        ),
        (_KEYS, _SPARE_CONTACTOR, _CLAMP),
        N_("The pump stops by itself at its stop level three times."),
        observed=True,
    ),
    "short_cycling": Entry(
        N_("starting too often"),
        N_("The pumps start and stop too often, which overheats motors and contactors."),
        (
            N_("See whether water flows back after a stop: then it is the check valve."),
            N_("Check start and stop levels and whether the level reading jumps."),
            N_("Widen the working band if it was set too narrow."),
        ),
        (_KEYS, _TAPE),
        N_("Starts per hour are back below the limit over one day."),
        observed=True,
    ),
    "left_in_manual": Entry(
        N_("left in manual or off"),
        N_("A selector switch is not on automatic: the station does not run by itself."),
        (
            N_("Call the crew that was there last: is somebody still working?"),
            N_("If nobody is, go and set all selectors to automatic."),
        ),
        (_KEYS,),
        N_("Automatic shows here, and both pumps start by themselves once."),
    ),
    # -- inflow ------------------------------------------------------------------------------------
    "infiltration_growth": Entry(
        N_("growing infiltration"),
        N_("The flow at night has grown over weeks: ground water enters the sewers."),
        (
            N_("No visit to the pumps is needed."),
            N_("List the catchment for a camera survey; compare with rain and ground water."),
        ),
        (),
        N_("After sealing, the night flow falls and stays low."),
    ),
    "upstream_blockage": Entry(
        N_("blockage upstream"),
        N_("Less sewage arrives than usual in dry weather: it is probably held up, and will spill, upstream."),
        (
            N_("Open the manholes upstream one by one; look for standing sewage."),
            N_("Clear the sewer with a jetter."),
            N_("Watch the pumps when the held water arrives."),
        ),
        (N_("Plan of the sewers"), N_("Jetting truck"), _GAS_METER),
        N_("The inflow is back in its usual band for the hour of day."),
    ),
    "inflow_change": Entry(
        N_("inflow has changed"),
        N_("The inflow has changed in steps: a new discharger, a diverted sewer or a wrong connection."),
        (
            N_("Look at which hours and weekdays it is; ask the planning section about new connections."),
            N_("If it is to stay, enter it in the site log as an accepted change."),
        ),
        (),
        N_("The cause is known and stands in the site log."),
        observed=True,
    ),
    # -- supply ------------------------------------------------------------------------------------
    "power_outage": Entry(
        N_("power failure"),
        N_("The station has no mains power: no pump runs and the well fills."),
        (
            N_("See which other stations are dark; go first where the well fills first."),
            N_("Ask the supply company for the expected duration."),
            N_("Connect the generator at the panel and run one pump at a time."),
        ),
        (_GENERATOR, N_("Fuel"), _KEYS),
        N_("Mains is back, both pumps start by themselves and the level falls."),
        observed=True,
    ),
    "comms_gap": Entry(
        N_("no communication"),
        N_("Nothing arrives from this station: its state is unknown. The pumps run on by themselves."),
        (
            N_("See whether other stations are silent too: then it is the carrier."),
            N_("In rain, or if the last level was high, go and look."),
            N_("At the panel: power of the terminal, antenna, SIM, cable."),
        ),
        (_KEYS, N_("Spare SIM and antenna"), N_("Laptop")),
        N_("New data arrive here, and the data kept on site during the gap have followed."),
        observed=True,
    ),
    "clock_error": Entry(
        N_("clock is wrong"),
        N_("The clock of the site's terminal is wrong: times of starts and alarms cannot be trusted."),
        (
            N_("Check that the terminal reaches its time server."),
            N_("If the clock is lost at every power cut, replace its battery."),
        ),
        (N_("Clock battery"), N_("Laptop")),
        N_("Times of arriving data agree with the clock here."),
        observed=True,
    ),
    # -- state -------------------------------------------------------------------------------------
    "high_level": Entry(
        N_("high water level"),
        N_("The level is above the alarm level: the pumps do not keep up, or do not run."),
        (
            N_("See here whether the pumps run and whether it rains."),
            N_("Go; start the pumps by hand if they stand."),
            N_("Order a vacuum truck before the level reaches the cover."),
        ),
        (_KEYS, _GENERATOR, N_("Barriers and lamps"), N_("Telephone number of the vacuum truck")),
        N_("The level is back in the working band and the pumps alternate."),
        observed=True,
    ),
    "overflow": Entry(
        N_("overflow"),
        N_("Sewage is at the cover or is already running out."),
        (
            N_("Keep people away; barrier and lamps."),
            N_("Vacuum truck at once; start the pumps by hand."),
            N_("Inform the supervisor; note time and place for the report."),
            N_("Afterwards clean and disinfect, and photograph."),
        ),
        (N_("Barriers and lamps"), N_("Disinfectant"), _GENERATOR, _KEYS),
        N_("The level is back in the working band and the place is disinfected."),
        observed=True,
    ),
    "unusual": Entry(
        N_("unusual behaviour"),
        N_(
            "The station behaves unlike all its earlier days, and no known fault explains it. The "
            "cause is not known."
        ),
        (
            N_("Look at the cycles shown here beside earlier ones."),
            N_("At the next visit: noise, current, level, leaks; write down what was found."),
        ),
        (_CLAMP, _TAPE),
        N_("What was found stands in the site log; the cycles look like earlier ones again."),
        observed=True,
    ),
}  # fmt: skip

_STATUS_PAGE = N_("Look at the system page, or run pumpwatch doctor: it names the remedy.")
_WELL_AGAIN = N_("The system page says that all is well, and this alert is over by itself.")
_NOTHING_LOST = N_("Do not clear anything: stations keep what they measure until the hub has it.")

_HUB_ENTRIES: dict[str, Entry] = {
    "broker_lost": Entry(
        N_("no connection to the broker"),
        N_(
            "The hub has lost its message broker. No station is heard, so no new alert of any of them "
            "can be told."
        ),
        (
            N_("See whether the broker runs, and whether this machine reaches it."),
            N_("See whether its certificate, user name or password has changed or expired."),
            _STATUS_PAGE,
            _NOTHING_LOST,
        ),
        (),
        _WELL_AGAIN,
        observed=True,
    ),
    "hub_behind": Entry(
        N_("messages are not worked off"),
        N_(
            "Messages of stations wait too long to be written down or judged. Alerts come late or not "
            "at all."
        ),
        (
            N_("See whether the disk is full or slow, and whether the machine is too busy."),
            _STATUS_PAGE,
            N_("If the log names an error that comes again, restart the hub once and report it."),
            _NOTHING_LOST,
        ),
        (),
        _WELL_AGAIN,
        observed=True,
    ),
    "telemetry_held": Entry(
        N_("telemetry is left with the stations"),
        N_(
            "The disk is nearly full or too much is unread, so the hub takes switching events only. "
            "Whatever needs levels and currents is judged late."
        ),
        (
            N_("See on the system page whether it is the disk or the backlog."),
            N_("Make room on the disk: old backups and logs first, no file of the data directory."),
            N_("Within 30 days stations send everything that they kept meanwhile."),
        ),
        (),
        _WELL_AGAIN,
        observed=True,
    ),
    "series_away": Entry(
        N_("samples are not recorded"),
        N_(
            "The store of samples does not answer. Charts are blank; alerts go on, and samples wait in "
            "the inbox."
        ),
        (
            N_("See whether the time-series server runs and has room on its disk."),
            _STATUS_PAGE,
        ),
        (),
        N_("Charts show the time of the outage, and this alert is over by itself."),
        observed=True,
    ),
    "notify_failing": Entry(
        N_("notifications do not get out"),
        N_(
            "A channel takes no notification. Whoever is told by this channel alone hears of no alert; "
            "what is owed is tried on."
        ),
        (
            N_("Read the open alerts on the page now, and tell the crews yourself."),
            N_("See whether the receiver runs, and whether this machine reaches it."),
            N_("See whether address, secret or certificate of the channel has changed or expired."),
        ),
        (),
        N_("The system page shows a notification that was sent, and this alert is over by itself."),
        observed=True,
    ),
}

ENTRIES: dict[str, Entry] = {
    **{code: _ENTRIES[code] for code in FAULT_GROUP},
    **{code: _HUB_ENTRIES[code] for code in HUB_FAULTS},
}

JOINED: dict[str, Entry] = {
    "joined:capacity": Entry(
        N_("weak since monitoring began"),
        N_(
            "The pump moved less water than its nameplate or the other pump from the first days on. It "
            "may always have been so: from now on it is watched against itself, and this is told once."
        ),
        (
            N_("See whether nameplate, well area and levels are right in the station's record."),
            N_("Look up the last overhaul, and whether the pump was ever measured to do more."),
            N_("If nothing explains it, lift the pump or test the draw-down at the next visit."),
        ),
        (_TAPE, _CLAMP),
        N_(
            "Enter the overhaul, the new pump or an accepted change in the site log: that ends this."
        ),
        observed=True,
    ),
    "joined:moving": Entry(
        N_("changing in the first days"),
        N_(
            "Something changed while the station's normal was to be learnt: nobody knows which of it is "
            "normal. Of one pump the better days are learnt; what moves all pumps alike may be two "
            "states of a sound rising main."
        ),
        (
            N_("See in the chart of the first days whether it changed at once or bit by bit."),
            N_("If somebody worked there or set a level anew, enter it in the site log."),
            N_("If a pump is losing, lift it at the next visit."),
        ),
        (_CLAMP, _TAPE),
        N_("Enter what was found or accepted in the site log: the pump is then learnt anew."),
        observed=True,
    ),
}
"""Of stations that have just joined, by an alert's cause: its code says only that nobody can know why."""
