"""Refinement from streamed patients: events in, doses out; the population, the policy, and their guards."""
