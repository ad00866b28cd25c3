"""What a study's figures say, in words: sentences for tables, pages and `snakemake --report`."""
