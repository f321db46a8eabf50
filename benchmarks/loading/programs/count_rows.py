# SPDX-License-Identifier: Apache-2.0
"""Count the rows of a stream in a folder: as delta-rs sees them, else in its Parquet files.

python count_rows.py FOLDER STREAM
"""

import json
import re
import sys
from pathlib import Path

from deltalake import DeltaTable
from pyarrow.parquet import read_metadata


def main() -> None:
    """Print what was found as JSON."""
    folder, stream = Path(sys.argv[1]), sys.argv[2]
    named = re.compile(rf"(raw_\w+_)?{stream}([-.].*)?")
    files = [file for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts]
    own = [file for file in files if any(map(named.fullmatch, file.relative_to(folder).parts))]
    tables = [log.parent for log in folder.rglob("_delta_log")]
    tables = [table for table in tables if named.fullmatch(table.name)] or tables
    if tables:
        rows = sum(DeltaTable(str(table)).count() for table in tables)
    else:
        rows = sum(read_metadata(file).num_rows for file in own or files)
    print(json.dumps({"rows": rows, "bytes": sum(file.stat().st_size for file in own or files)}))


if __name__ == "__main__":
    main()
