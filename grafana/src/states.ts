//! What the values of states are called, and how they look.

import type { States } from "./panels";

/** Of `queries.believed`. */
export const BELIEVED: States = [["current", "green"], ["restored", "blue"], ["failing", "orange"], ["stale", "red"], ["never listed", "purple"]];
/** Of `queries.fate`. A past expiry is red only where nothing says that the token renews. */
export const FATES: States = [
  ["renews", "green"],
  ["has a refresh token", "green"],
  ["not seen to renew", "text"],
  ["short-lived, not renewed", "yellow"],
  ["idle for a week", "yellow"],
  ["ends within a week", "orange"],
  ["ends within a day", "red"],
  ["ended", "dark-red"],
];
/** Of `queries.allEdges`. */
export const EDGES: States = [["disconnected", "red"], ["unknown status", "orange"], ["pending", "yellow"], ["connected", "green"], ["no longer listed", "red"]];
/** Of `queries.whetherLost`. */
export const LOST: States = [["not connected", "text"], ["was connected", "red"]];
/** Of `queries.heldBack`. */
export const HELD: States = [["whole budget", "green"], ["reduced budget", "yellow"], ["paused", "orange"]];
/** Of alerts. */
export const SEVERITIES: States = [["other", "text"], ["info", "blue"], ["warning", "orange"], ["critical", "red"]];
/** Of 0 and 1. */
export const truth = (no: string, yes: string): States => [[no, "red"], [yes, "green"]];
