using System.CommandLine;
using Mesh.Cli.Redirect;

return await new RootCommand("mesh, the command line of Mesh") { RedirectCommand.Create() }.Parse(args).InvokeAsync();
