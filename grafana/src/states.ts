//! What the values of states are called, and how they look.

import type { States } from "./panels";

/** Of `queries.believed`. */
export const BELIEVED: States = [["current", "green"], ["restored", "blue"], ["failing", "orange"], ["stale", "red"], ["never listed", "purple"]];
/** Of `queries.tokenState`. A past expiry is red only where nothing says that the token is renewed. */
export const TOKENS: States = [
  ["not judged", "purple"],
  ["renewed at next use", "text"],
  ["refresh token stored", "green"],
  ["renewed", "green"],
  ["no known renewal", "text"],
  ["refresh token idle", "yellow"],
  ["expires soon", "orange"],
  ["renewal late", "orange"],
  ["expires within a day", "red"],
  ["renewal stopped", "red"],
  ["expired", "dark-red"],
];
/** Of `queries.grant`. */
export const GRANTS: States = [["unknown", "text"], ["authorization_code", "text"], ["client_credentials", "text"]];
/** Of `queries.allEdges`. */
export const EDGES: States = [["disconnected", "red"], ["unknown status", "orange"], ["pending", "yellow"], ["connected", "green"], ["no longer listed", "red"]];
/** Of `queries.heldBack`. */
export const HELD: States = [["whole budget", "green"], ["reduced budget", "yellow"], ["paused", "orange"]];
/** Of alerts. */
export const SEVERITIES: States = [["other", "text"], ["info", "blue"], ["warning", "orange"], ["critical", "red"]];
/** Of 0 and 1. */
export const truth = (no: string, yes: string): States => [[no, "red"], [yes, "green"]];
