using System.CommandLine;
using Mesh.Cli.ControlPlane;
using Mesh.Cli.Redirect;

return await new RootCommand("mesh, the command line of Mesh") { ControlPlaneCommand.Create(), RedirectCommand.Create() }.Parse(args).InvokeAsync();
