# SPDX-License-Identifier: Apache-2.0
"""Landing records in Bronze: everything a target does that does not depend on where they land.

A target supplies its settings, a `Store` that commits batches, and a `TargetProgram` that names
them; reading, batching, checking, dead letters, generations, STATE and signals are here.
"""
