"""Strangers' formats read in processes of their own, with bounded time, memory and number: PDFs and cards."""
