"""What operators deploy, as far as it can be checked without the tools that they deploy it with."""
