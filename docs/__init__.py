"""The documentation's pages, and the script that writes their generated parts."""
